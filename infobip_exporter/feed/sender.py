"""Sending requests: within the budget, with back-off when the API fails, and with every request counted."""

from bisect import bisect_left
from decimal import Decimal
from random import Random
from typing import Protocol

from infobip_exporter.errors import RequestFailed, TokenFailed
from infobip_exporter.feed.clock import Clock
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.feed.writer import Writer
from infobip_exporter.infobip.backoff import Backoff
from infobip_exporter.infobip.clock import ApiClock, Bounds
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.rate_limit import RateLimiter
from infobip_exporter.metrics import catalog
from infobip_exporter.model.record import Answer
from infobip_exporter.model.series import Histogram, Series

LOOK_FOR_KEY_EVERY_S = 5.0
REFUSED = ("401", "403")
THROTTLED = "429"
UNREACHED = ("connection", "timeout")
INCIDENT = "API request"
TOKEN_INCIDENT = "access token"  # noqa: S105 - the incident's name


class Api(Protocol):
    async def prepare(self) -> None:
        """Get what has to be asked for before a request, such as a token. Raises TokenFailed."""

    async def fetch(self, query: Query) -> Answer:
        """One request. Raises RequestFailed."""

    def has_new_key(self) -> bool:
        """Whether there may be another key than the last request had."""


class Sender:
    """Sends the requests of one feed. `wait_s` says for how long none may be sent."""

    def __init__(
        self,
        api: Api,
        limiter: RateLimiter,
        api_clock: ApiClock,
        writer: Writer,
        incidents: Incidents,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.limiter = limiter
        self.sent = 0
        self.well = 0
        """How many requests were answered."""
        self.answered = False
        """Whether any request has been made and has come to an end, well or not."""
        self.unreached_since_s: float | None = None
        """Since when no answer of any kind has come through; None if the last request got one."""
        self.progressed_s = float("-inf")
        """When it last began to wait for its turn."""
        self._api = api
        self._api_clock = api_clock
        self._writer = writer
        self._incidents = incidents
        self._clock = clock
        self._backoff = Backoff(rng, base_s=1.0, cap_s=60.0)
        self._refused_backoff = Backoff(rng, base_s=60.0, cap_s=300.0, floor_s=30.0)
        self._resume_s = float("-inf")
        self._prepare_again_s = float("-inf")
        self._refused = False
        self._ends_s = float("-inf")
        self._interval_s = 0.0
        self._has_asked = False
        """Whether this poll has asked its first question."""

    def poll_begins(self, ends_s: float, interval_s: float) -> None:
        """A poll begins, in which no request is sent after `ends_s`; another one each `interval_s`."""
        self._ends_s, self._interval_s, self._has_asked = ends_s, interval_s, False

    def wait_s(self) -> float:
        """Seconds until the next request may be sent; 0 if it may be sent now."""
        now = self._clock.monotonic_s()
        pause_s = self._resume_s - now
        if self._refused and pause_s > 0:
            # A new key need not wait until the API may be asked again with the old one.
            pause_s = 0.0 if self._api.has_new_key() else min(pause_s, LOOK_FOR_KEY_EVERY_S)
        ends_s = self._ends_s if self._has_asked else None
        return max(
            0.0, pause_s, self._prepare_again_s - now, self.limiter.wait_s(now, ends_s, self._interval_s)
        )

    async def prepare(self) -> bool:
        """Get what a request needs beforehand. False where it is not to be had; then `wait_s` is not 0.

        It is an incident of its own, and costs nothing of the log's budget.
        """
        try:
            await self._api.prepare()
        except TokenFailed as failure:
            self.answered = True
            self._incidents.began(TOKEN_INCIDENT, str(failure), refused=failure.code in (*REFUSED, "400", ""))
            # Sooner than the next token request is due: there may be another client secret.
            pause_s = min(failure.retry_after_s or LOOK_FOR_KEY_EVERY_S, LOOK_FOR_KEY_EVERY_S)
            self._prepare_again_s = self._clock.monotonic_s() + pause_s
            return False
        self._incidents.ended(TOKEN_INCIDENT)
        return True

    async def may_send(self) -> bool:
        """Whether a request may be sent now. Getting ready for it may take time."""
        return (
            self._clock.monotonic_s() < self._ends_s
            and self.wait_s() == 0
            and await self.prepare()
            and self._clock.monotonic_s() < self._ends_s
        )

    async def wait_for_turn(self) -> bool:
        """Wait until a request may be sent. False if the poll is over first."""
        while (left_s := self._ends_s - self._clock.monotonic_s()) > 0:
            if await self.may_send():
                return True
            wait_s = self.wait_s()
            self.progressed_s = self._clock.monotonic_s()
            await self._clock.sleep(min(wait_s, left_s))
        return False

    async def reserve(self) -> None:
        """Count the next request against the budget, for a process that is started after a kill, too."""
        self._has_asked = True
        await self._writer.reserve()
        self.limiter.spend(self._clock.monotonic_s())

    @property
    def knows_time(self) -> bool:
        """Whether answers have told the API's time."""
        return self._api_clock.known

    def bounds(self) -> Bounds:
        """The API's now."""
        return self._api_clock.bounds(self._clock.monotonic_s(), self._clock.wall_s())

    def asked(self, answer: Answer) -> Bounds:
        """The API's now when the request of this answer was sent."""
        now = self._clock.monotonic_s()
        return self._api_clock.bounds(answer.asked_s, self._clock.wall_s() - (now - answer.asked_s))

    async def send(self, query: Query) -> Answer:
        """The answer. Raises RequestFailed; its request was counted all the same."""
        self.sent += 1
        try:
            answer = await self._api.fetch(query)
        except RequestFailed as failure:
            self.answered = True
            if failure.code:
                self._count(failure.code, failure.took_s)
            if failure.code == THROTTLED:
                self.limiter.throttled(self._clock.monotonic_s())
            raise
        self.answered = True
        self.well += 1
        self._count("200", answer.took_s)
        self.limiter.succeeded(self._clock.monotonic_s())
        self._api_clock.saw(answer.date_ms, answer.asked_s, answer.received_s, self._clock.wall_s())
        return answer

    def succeeded(self) -> None:
        """The API answers again."""
        self._backoff.reset()
        self._refused_backoff.reset()
        self._resume_s = float("-inf")
        self.unreached_since_s = None
        self._incidents.ended(INCIDENT)

    def failed(self, failure: RequestFailed) -> None:
        """Send nothing for a while."""
        self._refused = failure.code in (*REFUSED, "")
        self._incidents.began(INCIDENT, str(failure), refused=self._refused)
        if failure.code not in UNREACHED:
            self.unreached_since_s = None
        elif self.unreached_since_s is None:
            self.unreached_since_s = self._clock.monotonic_s()
        backoff = self._refused_backoff if self._refused else self._backoff
        self._resume_s = self._clock.monotonic_s() + backoff.next_s(failure.retry_after_s)

    def _count(self, code: str, took_s: float) -> None:
        buckets = catalog.REQUEST_DURATION.buckets
        counts = [0] * (len(buckets) + 1)
        counts[bisect_left(buckets, took_s)] = 1
        took = Decimal(round(took_s * 1_000_000)).scaleb(-6)
        self._writer.later.add(Series.of(catalog.REQUESTS.name, code=code), 1)
        self._writer.later.observe(Series.of(catalog.REQUEST_DURATION.name), Histogram(tuple(counts), took))
