"""The API's clock, from the Date headers of its answers: sent times are its time, not ours."""

import math
from collections import deque
from operator import itemgetter
from typing import NamedTuple

RECENT_S = 300.0
RECENT_ANSWERS = 10
"""How many answers, and how old, still say something of the API's now. Fewer answers in 5 minutes: the last ten."""
CONTRADICTION_MS = 60_000
"""Servers whose clocks differ by less are believed to be sound (NTP keeps them within a second); wider apart, one of
them is wrong and nobody knows which."""
AGREED_BY = 5
"""How many answers in a row must agree before one that contradicted them is forgotten."""
CONFIRMED_BY = 3
"""How many answers must tell a new time that our own clock confirms."""
CONFIRMED_ALONE_BY = 20
CONFIRMED_ALONE_AFTER_S = 1800.0
"""How many answers, over how long, must tell a new time that our own clock contradicts."""


class Bounds(NamedTuple):
    """The API's now lies between these, in milliseconds since the epoch.

    `certain` is False while recent answers contradict each other: then nothing may become final or expire.
    """

    earliest_ms: int
    latest_ms: int
    certain: bool


class _Told(NamedTuple):
    """What an answer tells of the API's clock less the monotonic one, in milliseconds: at least and at most."""

    at_s: float
    low: int
    high: int


# Hundreds of answers are recent, and each new one is held against all of them.
_LOW, _HIGH = itemgetter(1), itemgetter(2)


class ApiClock:
    """Bounds on the API's now. `now` is always monotonic seconds, `wall_s` our own clock at that moment.

    A Date header is cut to whole seconds and was written between the request and the answer, so each answer bounds the
    difference of the clocks. The widest bounds of the recent answers hold. When an answer contradicts them (the API's
    clock was set, this machine slept, the header is wrong), nothing is certain until it is outnumbered, or confirmed by
    others and by our own clock, or by others alone for half an hour.

    `skew_s` is the API's clock less ours as an earlier process knew it; each answer that is believed tells it anew.
    Until a date was seen, our clock stands in.
    """

    def __init__(self, skew_s: float = 0.0) -> None:
        self._skew_s = skew_s
        self._told: deque[_Told] = deque()
        self._doubted: deque[_Told] = deque()
        self._low = self._high = 0
        self._agreed = 0

    @property
    def known(self) -> bool:
        """Whether answers have told the time and it can be relied on."""
        return bool(self._told) and not self._doubted

    def saw(self, date_ms: int | None, asked_s: float, received_s: float, wall_s: float) -> None:
        """An answer with this date was asked for and received at these moments."""
        if date_ms is None:
            return
        low, high = date_ms - math.ceil(received_s * 1000), date_ms + 1000 - math.floor(asked_s * 1000)
        told = _Told(received_s, low, high)
        if self._believable(told, wall_s):
            self._told.append(told)
            self._skew_s = _ahead_s(told) - wall_s
            self._agreed += 1
            if self._agreed >= AGREED_BY:
                self._doubted.clear()
        else:
            self._doubt(told, wall_s)
        while len(self._told) > RECENT_ANSWERS and self._told[0].at_s < received_s - RECENT_S:
            self._told.popleft()
        every = [*self._told, *self._doubted]
        self._low, self._high = min(map(_LOW, every)), max(map(_HIGH, every))

    def _believable(self, told: _Told, wall_s: float) -> bool:
        if self._told:
            return not _contradicts(self._told, told)
        return self._confirms(told, wall_s)

    def _confirms(self, told: _Told, wall_s: float) -> bool:
        """Whether our own clock, as it is or as it was known to be off, tells the same time."""
        ahead_s = _ahead_s(told) - wall_s
        return min(abs(ahead_s), abs(ahead_s - self._skew_s)) * 1000 < CONTRADICTION_MS

    def _doubt(self, told: _Told, wall_s: float) -> None:
        self._agreed = 0
        if self._doubted and _contradicts(self._doubted, told):
            self._doubted.clear()
        self._doubted.append(told)
        answers, for_s = len(self._doubted), told.at_s - self._doubted[0].at_s
        confirmed = answers >= CONFIRMED_BY and self._confirms(told, wall_s)
        alone = answers >= CONFIRMED_ALONE_BY and for_s >= CONFIRMED_ALONE_AFTER_S
        if confirmed or alone:
            self._told, self._doubted = self._doubted, deque()

    def bounds(self, now: float, wall_s: float) -> Bounds:
        """The API's now by the recent answers; by our own clock where none has told the time.

        Where all answers since the start contradict our own clock, it may be right as well.
        """
        wall_ms = (wall_s + self._skew_s) * 1000
        if not (self._told or self._doubted):
            return Bounds(math.floor(wall_ms) - 1, math.ceil(wall_ms) + 1, certain=True)
        latest_ms = math.ceil(now * 1000) + self._high
        if not self._told:
            latest_ms = max(latest_ms, math.ceil(wall_ms))
        return Bounds(math.floor(now * 1000) + self._low, latest_ms, certain=not self._doubted)

    def skew_s(self, now: float, wall_s: float) -> float | None:
        """The API's clock less ours as the last answer told it, in seconds; None until one did."""
        told = self._doubted or self._told
        if not told:
            return None
        _, low, high = told[-1]
        return ((low + high) / 2 + now * 1000) / 1000 - wall_s


def _ahead_s(told: _Told) -> float:
    """The API's time at the answer, at the least, in seconds since the epoch."""
    return told.low / 1000 + told.at_s


def _contradicts(others: "deque[_Told]", told: _Told) -> bool:
    lows: list[int] = [told.low, *map(_LOW, others)]
    return max(lows) - told.low > CONTRADICTION_MS or told.low - min(lows) > CONTRADICTION_MS
