"""The feed's API over the simulated log: real parameters out, real decoding in, failures as the client tells them."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.headers import date_ms, retry_after_s
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Answer, Page
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.sandbox.asked import BadRequest, read_parameters
from infobip_exporter.sandbox.faults import FaultyLog
from infobip_exporter.sandbox.replies import Reply
from simulation.crash import Fate
from simulation.time import VirtualTime
from simulation.trace import Trace
from simulation.violation import Violated

MOST_LOOKS_ALIKE = 5
NOTICED_AFTER = 6
"""How many answers must tell the time before the exporter may be held to a clock that was set."""
MOST_ALIKE = 30
"""How often a poll may put one question that is answered each time; a span can be halved that often."""

LONGEST_TRAVEL_S = 0.04
"""How long a request takes to the API at most: less than the reserve in the budget's minute."""


@dataclass(slots=True)
class Witness:
    """What the API has given away in good answers."""

    shown: set[str] = field(default_factory=set)
    """Ids of the messages that were in an answer."""
    finals: dict[str, dict[str, None]] = field(default_factory=dict)
    """The final status groups that were shown of a message, in order."""
    asked: SpanSet = SpanSet()
    """Sent time that was asked for with nothing but its bounds."""
    last_asked_ms: int = 0
    """When the last of those questions arrived, by the API's clock; the latest, where that was set back."""

    dated_since_step: int = 0
    """How many answers have told the time since the API's clock was set, 0 before."""
    noticed_ms: float = math.inf
    """When enough of them had for everybody to notice."""

    def told_the_time(self, api_ms: int) -> None:
        self.dated_since_step += 1
        if self.dated_since_step == NOTICED_AFTER:
            self.noticed_ms = api_ms

    def saw(self, question: Query, page: Page, arrived_ms: int) -> None:
        self.shown.update(record.message_id for record in page.records)
        for record in page.records:
            if record.kind.final:
                self.finals.setdefault(record.message_id, {})[record.kind.general_status] = None
        if question.since_ms is not None and question.until_ms is not None:
            self.asked = self.asked.add(Span(question.since_ms, question.until_ms))
            self.last_asked_ms = max(self.last_asked_ms, arrived_ms)


@dataclass(frozen=True, slots=True)
class Dates:
    """How answers tell the API's time: the share that have no Date, and the share whose Date is wrong by hours."""

    missing_share: float = 0.0
    wrong_share: float = 0.0

    def told_ms(self, date_ms: int | None, rng: Random) -> int | None:
        if self.missing_share and rng.random() < self.missing_share:
            return None
        if self.wrong_share and date_ms is not None and rng.random() < self.wrong_share:
            return date_ms + rng.choice((-1, 1)) * rng.randrange(3_600_000, 172_800_000)
        return date_ms


@dataclass(slots=True)
class SimulatedApi:
    """One channel's log of one account. `budget` is how many requests may arrive in any minute; more is a violation."""

    log: FaultyLog
    time: VirtualTime
    fate: Fate
    rng: Random
    trace: Trace
    filters: Mapping[str, str]
    timeout_s: float
    budget: int
    dates: Dates
    dates_rng: Random
    meanwhile: Callable[[], None] = lambda: None
    """Called before each request: what other threads do while the feed works."""
    witness: Witness = field(default_factory=Witness)
    requests: int = 0
    answered_well: Counter[Query] = field(default_factory=Counter)
    """The questions of this poll that got a good answer."""

    def has_new_key(self) -> bool:
        return False

    def ask(self, question: Query) -> Answer:
        self.meanwhile()
        self.fate.point("before a request")
        began_s = self.time.now_s
        self.time.advance(self.rng.uniform(0.001, LONGEST_TRAVEL_S))
        arrived_ms = self.time.api_ms
        parameters = question.parameters(self.filters)
        reply = self.log.answer(parameters, arrived_ms, self.time.elapsed_ms)
        self.requests += 1
        self._check(parameters, reply)
        self.time.advance(reply.delay_s + self.rng.uniform(0.005, 0.2))
        self.fate.point("before the answer")
        try:
            answer = self._read(reply, began_s)
        except RequestFailed as failure:
            if self.trace:
                self.trace("asked", _told(parameters), "->", failure)
            raise
        if self.trace:
            rows = f"{answer.page.rows} rows"
            self.trace("asked", _told(parameters), "->", rows, answer.page.next_cursor or "")
        self.witness.saw(question, answer.page, arrived_ms)
        self.answered_well[question] += 1
        if question.since_ms is None and not question.message_ids:
            self.answered_well[question] = 0  # what there is at all is asked for to tell a cap
        most = MOST_LOOKS_ALIKE if question.message_ids else MOST_ALIKE
        if self.answered_well[question] > most:
            raise Violated(f"in circles: asked more than {most} times in one poll: {_told(parameters)}")
        self.fate.point("after the answer")
        return answer

    def _check(self, parameters: Mapping[str, str], reply: Reply) -> None:
        if self.log.most_in_a_minute > self.budget:
            raise Violated(f"{self.log.most_in_a_minute} requests in a minute, the budget is {self.budget}")
        if reply.status == 400:
            try:
                read_parameters(parameters, self.log.log.quirks)
            except BadRequest as error:
                if error.parameter not in ("useCursor", "cursor"):
                    raise Violated(f"a question that the API does not know: {error}") from error

    def _read(self, reply: Reply, began_s: float) -> Answer:
        if reply.fault == "timeout" or self.time.now_s - began_s >= self.timeout_s:
            self.time.advance(began_s + self.timeout_s - self.time.now_s)
            raise RequestFailed("timeout", "no whole answer in time", took_s=self.timeout_s)
        took_s = self.time.now_s - began_s
        if reply.fault is not None:
            raise RequestFailed("connection", f"the connection was {reply.fault}", took_s=took_s)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        if reply.status != 200:
            wait_s = retry_after_s(headers, self.time.wall())
            raise RequestFailed(str(reply.status), "refused", retry_after_s=wait_s, took_s=took_s)
        try:
            page = decode_page(reply.body)
        except InvalidBody as error:
            raise RequestFailed("invalid_body", str(error), took_s=took_s) from None
        told_ms = self.dates.told_ms(date_ms(headers), self.dates_rng)
        if told_ms is not None and self.time.stepped_s_ago() < math.inf:
            self.witness.told_the_time(self.time.api_ms)
        return Answer(page, told_ms, took_s)


def _told(parameters: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value[:60]}" for name, value in parameters.items())
