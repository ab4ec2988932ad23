"""The API's clock, from the Date headers of its answers: sent times are its time, not ours."""

from collections import deque

REMEMBER_S = 300.0


class ApiClock:
    """Bounds on the API's now, in milliseconds since the epoch.

    A Date header is cut to whole seconds and was written before the answer arrived, so `date - receipt` is never more
    than the true offset of the clocks, and a second plus the travel time less at the most. Of the answers of the last
    minutes the lowest offset bounds the API's now from below and the highest from above: one answer with a wrong date,
    or a clock that is set, makes the bounds wider and never closes a span too early.

    `now` is given in seconds of a monotonic clock; until the first date was seen, `wall_s` stands in for it.
    """

    def __init__(self, wall_s: float, now: float) -> None:
        self._fallback_ms = round((wall_s - now) * 1000)
        self._offsets: deque[tuple[float, int, int]] = deque()

    @property
    def known(self) -> bool:
        return bool(self._offsets)

    def saw(self, date_ms: int | None, now: float, took_s: float) -> None:
        """An answer with this date arrived at `now`, `took_s` seconds after it was asked for."""
        if date_ms is None:
            return
        low = date_ms - round(now * 1000)
        self._offsets.append((now, low, low + 1000 + round(took_s * 1000)))
        while self._offsets[0][0] < now - REMEMBER_S:
            self._offsets.popleft()

    def earliest_ms(self, now: float) -> int:
        """The API's now, or a little before it."""
        return round(now * 1000) + min((low for _, low, _ in self._offsets), default=self._fallback_ms)

    def latest_ms(self, now: float) -> int:
        """The API's now, or a little after it."""
        return round(now * 1000) + max((high for _, _, high in self._offsets), default=self._fallback_ms)

    def skew_s(self, wall_s: float, now: float) -> float | None:
        """The API's clock less ours, in seconds; None until a date was seen."""
        if not self._offsets:
            return None
        _, low, high = self._offsets[-1]
        return ((low + high) / 2 + now * 1000) / 1000 - wall_s
