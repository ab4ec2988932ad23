"""The feed's API over the simulated log: real parameters out, real decoding in, failures as the client tells them."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.headers import retry_after_s
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import Answer
from infobip_exporter.model.time_range import TimeRanges
from infobip_sandbox.asked import BadRequest, read_parameters
from infobip_sandbox.faults import FaultyLog
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.replies import Reply
from simulation.crash import Fate, Process
from simulation.dates import Told
from simulation.time import ApiTime
from simulation.trace import Trace
from simulation.violation import Violated

MOST_ALIKE = 30
"""How often a poll may put one query that is answered each time; a range can be halved that often."""
LONGEST_TRAVEL_S = 0.03
"""How long a request takes to the API at most: less than the reserve in the budget's minute."""

Final = tuple[str, str, str]
"""The labels general_status, status and error."""
Who = tuple[str, int]
"""A message: its id and its sent time in milliseconds."""


@dataclass(slots=True)
class History:
    """What the API has given away in good answers."""

    shown: dict[Who, int] = field(default_factory=dict)
    """Messages that were in an answer, and the API's time when they first were."""
    last_shown: dict[Who, tuple[Query, int]] = field(default_factory=dict)
    """What was asked for, and the API's time, when they last were."""
    finals: dict[Who, dict[Final, None]] = field(default_factory=dict)
    """The final statuses that were shown of a message, in order."""
    asked: TimeRanges = TimeRanges()
    """Sent time that was asked for with nothing but its bounds."""
    open_until_ms: int = 0
    """When the last of the good answers to a query without an end was given."""

    def saw(self, query: Query, answer: Answer, arrived_ms: int) -> None:
        for record in answer.page.records:
            who = (record.message_id, record.sent_ms)
            self.shown.setdefault(who, arrived_ms)
            self.last_shown[who] = query, arrived_ms
            if record.kind.final:
                kind = record.kind
                self.finals.setdefault(who, {})[kind.general_status, kind.status, kind.error] = None
        if query.since_ms is not None and query.general_status is None:
            until_ms = query.until_ms if query.until_ms is not None else arrived_ms + 1
            self.asked = self.asked.add((query.since_ms, until_ms))
            if query.until_ms is None:
                self.open_until_ms = arrived_ms


@dataclass(slots=True)
class SimulatedApi:
    """One channel's log of one account. `budget` is how many requests may arrive in any minute; more is a violation.

    `ways` are the quirks that the log has from which second on.
    """

    log: FaultyLog
    time: ApiTime
    fate: Fate
    rng: Random
    trace: Trace
    filters: Mapping[str, str]
    timeout_s: float
    budget: int
    told: Told
    ways: tuple[tuple[float, Quirks], ...]
    labels: tuple[Label, ...] = ()
    """Those that are read on request."""
    process: Process = field(default_factory=Process)
    meanwhile: Callable[[], None] = lambda: None
    """Called before each request: what others do while the feed works."""
    history: History = field(default_factory=History)
    requests: int = 0
    answered: int = 0
    """How many answers were good."""
    failed_s: float = -math.inf
    """When (true time) the last request failed."""
    barred_until_s: float = 0.0
    """Until when (true time) the last refusal has asked for patience."""
    answered_well: Counter[Query] = field(default_factory=Counter)
    """The queries of this poll that got a good answer."""

    async def prepare(self) -> None:
        """Nothing."""

    def has_new_key(self) -> bool:
        return False

    async def fetch(self, query: Query) -> Answer:
        self.meanwhile()
        self.fate.point(self.process, "before a request")
        clock = self.time.time
        asked_s = clock.monotonic_s()
        await asyncio.sleep(self.rng.uniform(0.001, LONGEST_TRAVEL_S))
        self.log.log.quirks = next(ways for since_s, ways in reversed(self.ways) if since_s <= clock.now_s)
        arrived_ms = self.time.now_ms()
        parameters = query.parameters(self.filters)
        reply = self.log.answer(parameters, arrived_ms, round(clock.now_s * 1000))
        date_ms = self.told.date_ms(arrived_ms, clock.now_s)
        self.requests += 1
        self._check(parameters, reply)
        left_s = asked_s + self.timeout_s - clock.monotonic_s()
        back_s = reply.delay_s + self.rng.uniform(0.005, 0.2)
        if reply.fault == "timeout" or back_s >= left_s:
            await asyncio.sleep(max(0.0, left_s))
            raise self._failed(
                parameters, RequestFailed("timeout", "no whole answer in time", took_s=self.timeout_s)
            )
        await asyncio.sleep(back_s)
        self.fate.point(self.process, "before the answer")
        answer = self._read(parameters, reply, date_ms, asked_s)
        if self.trace:
            cursor = answer.page.next_cursor or ""
            self.trace(
                "asked", _told(parameters), "->", f"{answer.page.rows} rows", f"date={date_ms}", cursor
            )
        self.history.saw(query, answer, arrived_ms)
        self.answered += 1
        self.answered_well[query] += 1
        if self.answered_well[query] > MOST_ALIKE:
            raise Violated(f"in circles: asked more than {MOST_ALIKE} times in one poll: {_told(parameters)}")
        self.fate.point(self.process, "after the answer")
        return answer

    def _check(self, parameters: Mapping[str, str], reply: Reply) -> None:
        if self.log.most_in_a_minute > self.budget:
            raise Violated(f"{self.log.most_in_a_minute} requests in a minute, the budget is {self.budget}")
        if reply.status == 400:
            try:
                read_parameters(parameters, self.log.log.quirks)
            except BadRequest as error:
                if error.parameter not in ("useCursor", "cursor"):
                    raise Violated(f"a query that the API does not know: {error}") from error

    def _read(
        self, parameters: Mapping[str, str], reply: Reply, date_ms: int | None, asked_s: float
    ) -> Answer:
        clock = self.time.time
        took_s = clock.monotonic_s() - asked_s
        if reply.fault is not None:
            raise self._failed(
                parameters, RequestFailed("connection", f"the connection was {reply.fault}", took_s=took_s)
            )
        if reply.status != 200:
            headers = {name.lower(): value for name, value in reply.headers.items()}
            wait_s = retry_after_s(headers, clock.wall_s())
            self.barred_until_s = max(self.barred_until_s, clock.now_s + (wait_s or 0.0))
            raise self._failed(
                parameters, RequestFailed(str(reply.status), "refused", retry_after_s=wait_s, took_s=took_s)
            )
        try:
            page = decode_page(reply.body, self.labels)
        except InvalidBody as error:
            raise self._failed(parameters, RequestFailed("invalid_body", str(error), took_s=took_s)) from None
        return Answer(page, date_ms, took_s, asked_s, clock.monotonic_s())

    def _failed(self, parameters: Mapping[str, str], failure: RequestFailed) -> RequestFailed:
        self.failed_s = self.time.time.now_s
        if self.trace:
            self.trace("asked", _told(parameters), "->", failure)
        return failure


def _told(parameters: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value[:60]}" for name, value in parameters.items())
