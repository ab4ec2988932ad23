"""The API's clock, from the Date headers of its answers: sent times are its time, not ours."""

import math
from collections import deque
from itertools import pairwise
from typing import NamedTuple

REMEMBER_S = 300.0
REMEMBER_ANSWERS = 20
"""How many answers count at the least, however old: servers whose clocks differ take turns by chance."""
MOST_REMEMBERED = 1000
AGREE_MS = 5_000
"""Offsets further apart than this tell different times; a Date is cut to a second and has travelled."""
CONFIRMED_BY = 3
"""How many answers in a row must tell a new time before it is believed."""
NEAR_S = 60.0
MOST_DOUBTED = 20


class _Offset(NamedTuple):
    """What an answer tells of the API's clock less the monotonic one, in milliseconds: at least and at most."""

    at_s: float
    low: int
    high: int


class ApiClock:
    """Bounds on the API's now, in milliseconds since the epoch.

    A Date header is cut to whole seconds and was written before the answer arrived, so `date - receipt` is never more
    than the true offset of the clocks, and a second plus the travel time less at the most. The lowest offset of the
    last answers bounds the API's now from below, though others were believed: neither a wrong date nor a server ahead
    of the others closes a span too early. Only one that nobody else agreed on is forgotten, once the next answer tells
    the time as it was, if it is more than a minute off. The highest one that several answers agreed on bounds it from
    above: no wrong date gives up what is still in the log.

    `now` is given in seconds of a monotonic clock; until a date was seen, `wall_s` stands in for it.
    """

    def __init__(self, wall_s: float, now: float) -> None:
        wall_ms = (wall_s - now) * 1000
        self._wall = _Offset(now, math.floor(wall_ms) - 1, math.ceil(wall_ms) + 1)
        self._believed: deque[_Offset] = deque()
        self._doubted: deque[_Offset] = deque(maxlen=MOST_DOUBTED)
        self._told: deque[_Offset] = deque(maxlen=MOST_REMEMBERED)
        """What the last answers told, believed or not."""
        self._lowest: int | None = None
        """The lowest offset of these that counts, in milliseconds."""

    @property
    def known(self) -> bool:
        """Whether answers have told the time so that it can be relied on."""
        return bool(self._believed)

    @property
    def disputed(self) -> bool:
        """Whether answers have told the time, but no two kinds of witness agree on it."""
        return not self._believed and bool(self._doubted)

    @property
    def torn(self) -> bool:
        """Whether the last answers contradict each other."""
        return bool(self._doubted) or (self._lowest is not None and self._is_off(self._lowest))

    def saw(self, date_ms: int | None, now: float, took_s: float) -> None:
        """An answer with this date arrived at `now`, `took_s` seconds after it was asked for."""
        if date_ms is None:
            while self._doubted and self._doubted[0].at_s < now - REMEMBER_S:
                self._doubted.popleft()
            return
        low = date_ms - round(now * 1000)
        offset = _Offset(now, low, low + 1000 + round(took_s * 1000))
        if self._believable(offset):
            self._believe(offset)
            self._doubted.clear()
        else:
            self._doubted.append(offset)
            last = list(self._doubted)[-CONFIRMED_BY:]
            if len(last) == CONFIRMED_BY and all(_agree(each, offset) for each in last):
                self._believed.extend(last)
                self._doubted.clear()
        # The last one is kept, however old: a monotonic clock does not jump, so it is still the best there is.
        while len(self._believed) > 1 and self._believed[0].at_s < now - REMEMBER_S:
            self._believed.popleft()
        self._told.append(offset)
        while len(self._told) > REMEMBER_ANSWERS and self._told[0].at_s < now - REMEMBER_S:
            self._told.popleft()
        self._lowest = self._lowest_that_counts()

    def _lowest_that_counts(self) -> int | None:
        lows = sorted(offset.low for offset in self._told)
        for low, next_low in pairwise(lows):
            if next_low - low <= AGREE_MS or not self._is_off(low):
                return low
        return None

    def _is_off(self, low: int) -> bool:
        """Whether it lies far below all that is believed."""
        return low < min((each.low for each in self._believed), default=self._wall.low) - NEAR_S * 1000

    def _believe(self, offset: _Offset) -> None:
        """Keep one a second: a backlog may be read with hundreds of answers a minute."""
        if self._believed and offset.at_s - self._believed[-1].at_s < 1:
            last = self._believed.pop()
            offset = _Offset(last.at_s, min(last.low, offset.low), max(last.high, offset.high))
        self._believed.append(offset)

    def _believable(self, offset: _Offset) -> bool:
        """Whether it tells the time that was told last; at first, our own, if no answers agree on another."""
        if self._believed:
            return _agree(self._believed[-1], offset)
        return abs(offset.low - self._wall.low) < NEAR_S * 1000

    def earliest_ms(self, now: float) -> int:
        """The API's now, or a little before it."""
        lows = [offset.low for offset in (*self._believed, *self._doubted)]
        if self._lowest is not None:
            lows.append(self._lowest)
        return math.floor(now * 1000) + min(lows, default=self._wall.low)

    def latest_ms(self, now: float) -> int:
        """The API's now, or a little after it."""
        return math.ceil(now * 1000) + max(
            (offset.high for offset in self._believed), default=self._wall.high
        )

    def skew_s(self, wall_s: float, now: float) -> float | None:
        """The API's clock less ours as the last answer told it, in seconds; None until one did."""
        told = self._doubted or self._believed
        if not told:
            return None
        _, low, high = told[-1]
        return ((low + high) / 2 + now * 1000) / 1000 - wall_s


def _agree(a: _Offset, b: _Offset) -> bool:
    return abs(a.low - b.low) <= AGREE_MS
