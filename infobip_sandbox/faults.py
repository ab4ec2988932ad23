"""What goes wrong between the log and the client: as data, the same for virtual time and for a real server."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from random import Random
from typing import Literal, NamedTuple, get_args

from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.replies import Reply, error_reply, headers, html_reply

FaultKind = Literal[
    "400", "401", "403", "429", "500", "502_html", "html_200", "timeout_before", "timeout_after", "reset", "cut",
    "garbled", "slow",
]  # fmt: skip
"""The ways a request fares badly. `timeout_before` never reaches the log, `timeout_after` loses its answer."""

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
_UNCOUNTED = frozenset(("timeout_before", "reset", "502_html"))
"""What happens in front of the API, which then does not count the request against the limit."""

MINUTE_MS = 60_000


class Outage(NamedTuple):
    """Every request in [start_ms, end_ms) fails in this way."""

    start_ms: int
    end_ms: int
    kind: FaultKind = "reset"


@dataclass(frozen=True, slots=True)
class Faults:
    """`shares` of the requests that fail in each way (they add up to at most 1), and `outages` in which all do.

    `script` comes first: what happens to the next requests, one after the other, "" for nothing.
    """

    shares: Mapping[FaultKind, float] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    script: tuple[FaultKind | Literal[""], ...] = ()
    requests_per_minute: int = 120
    """The API's own limit, in any 60 s; 0 for none."""
    retry_after: Literal["seconds", "date", "none"] = "none"
    """How a 429 says when to come back: `retry_after_s` from then."""
    retry_after_s: int = 5
    slow_s: float = 3.0
    latency_s: float = 0.0
    """How long every answer takes at least."""


NO_FAULTS = Faults()


@dataclass(slots=True)
class FaultyLog:
    """A log with what goes wrong in front of it. Requests must come in the order of their time.

    `rng` decides which request fails; the log has another, so that faults don't change what the log answers.
    """

    log: SimulatedLog
    faults: Faults = NO_FAULTS
    rng: Random = field(default_factory=lambda: Random(0))
    answered: Counter[str] = field(default_factory=Counter)
    """Requests by what came of them: the HTTP status, or `timeout`, `reset`, `cut`."""
    requests_over_limit: int = 0
    most_in_a_minute: int = 0
    """The most requests that arrived in any 60 s, refused ones included."""
    _arrived_ms: deque[int] = field(default_factory=deque)
    _granted_ms: deque[int] = field(default_factory=deque)

    def answer(self, parameters: Mapping[str, str], now_ms: int, arrived_ms: int | None = None) -> Reply:
        """What the client gets for asking at `now_ms` by the API's clock.

        `arrived_ms` is when that is on a clock that never steps, where `now_ms` may: the limit goes by it.
        """
        reply = self._answer(parameters, now_ms, now_ms if arrived_ms is None else arrived_ms)
        if self.faults.latency_s:
            reply = replace(reply, delay_s=reply.delay_s + self.faults.latency_s)
        self.answered[reply.fault or str(reply.status)] += 1
        return reply

    def _answer(self, parameters: Mapping[str, str], now_ms: int, arrived_ms: int) -> Reply:
        self._arrived_ms.append(arrived_ms)
        _drop_older(self._arrived_ms, arrived_ms - MINUTE_MS)
        self.most_in_a_minute = max(self.most_in_a_minute, len(self._arrived_ms))
        kind = self._fault(now_ms)
        if kind not in _UNCOUNTED and not self._within_limit(arrived_ms):
            self.requests_over_limit += 1
            return self._too_many(now_ms)
        if kind == "":
            return self.log.answer(parameters, now_ms)
        return self._failed(kind, parameters, now_ms)

    def _within_limit(self, arrived_ms: int) -> bool:
        """Whether the API still takes a request; if so, it is counted."""
        _drop_older(self._granted_ms, arrived_ms - MINUTE_MS)
        limit = self.faults.requests_per_minute
        if limit and len(self._granted_ms) >= limit:
            return False
        self._granted_ms.append(arrived_ms)
        return True

    def _fault(self, now_ms: int) -> FaultKind | Literal[""]:
        faults = self.faults
        if faults.script:
            kind, *rest = faults.script
            self.faults = replace(faults, script=tuple(rest))
            return kind
        for outage in faults.outages:
            if outage.start_ms <= now_ms < outage.end_ms:
                return outage.kind
        if not faults.shares:
            return ""
        draw = self.rng.random()
        for each, share in faults.shares.items():
            draw -= share
            if draw < 0:
                return each
        return ""

    def _failed(self, kind: FaultKind, parameters: Mapping[str, str], now_ms: int) -> Reply:
        match kind:
            case "400" | "401" | "403" | "500":
                return error_reply(int(kind), self.log.quirks, now_ms)
            case "429":
                return self._too_many(now_ms)
            case "502_html":
                return html_reply(502, "502 Bad Gateway", now_ms)
            case "html_200":
                return html_reply(200, "Please sign in", now_ms)
            case "reset" | "timeout_before":
                return Reply(200, headers(now_ms), b"", fault="reset" if kind == "reset" else "timeout")
            case "timeout_after" | "slow" | "cut" | "garbled":
                return self._spoilt(kind, self.log.answer(parameters, now_ms))

    def _spoilt(self, kind: Literal["timeout_after", "slow", "cut", "garbled"], whole: Reply) -> Reply:
        """A good reply that does not come back well."""
        middle = len(whole.body) // 2
        match kind:
            case "timeout_after":
                return replace(whole, fault="timeout")
            case "slow":
                return replace(whole, delay_s=self.faults.slow_s)
            case "cut":
                told = {**whole.headers, "Content-Length": str(len(whole.body))}
                return replace(whole, headers=told, body=whole.body[:middle], fault="cut")
            case "garbled":
                # A control character is wrong anywhere in JSON: garbled, never another valid answer.
                return replace(whole, body=whole.body[:middle] + b"\x00\xff\x01" + whole.body[middle + 3 :])

    def _too_many(self, now_ms: int) -> Reply:
        faults = self.faults
        more: dict[str, str] = {}
        if faults.retry_after == "seconds":
            more["Retry-After"] = str(faults.retry_after_s)
        elif faults.retry_after == "date":
            more["Retry-After"] = formatdate(now_ms // 1000 + faults.retry_after_s, usegmt=True)
        return error_reply(429, self.log.quirks, now_ms, more_headers=more)


def _drop_older(moments: deque[int], than_ms: int) -> None:
    """Forget the moments that are a minute old: `than_ms` itself lies outside of the 60 s."""
    while moments and moments[0] <= than_ms:
        moments.popleft()
