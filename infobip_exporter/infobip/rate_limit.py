"""How many requests a feed may make: a hard limit for any minute, and an even spread below it."""

from collections import deque
from collections.abc import Iterable

WINDOW_S = 60.05
"""A minute and a little: requests that travel at unlike speed must not meet in one minute of the API's."""

_BURST_SHARE = 0.1
_THROTTLED_EVERY_S = 10.0
_RECOVERY_SHARE = 0.1
_LONGEST_RECOVERY_S = 60.0
_TOLERANCE = 1e-6
"""Of a token or a second: what rounding may take from a wait that was waited out."""


class RateLimiter:
    """A budget of `limit_per_minute` requests. `now` is always monotonic seconds.

    Two rules hold at once. A log of the last requests: never more than the limit in any 60 s, whatever came before,
    a restart included when `spent` (moments of earlier requests) is given. A token bucket: short bursts of a tenth
    of the limit, then evenly spaced. A 429 halves the limit; success wins it back.
    """

    def __init__(self, limit_per_minute: int, spent: Iterable[float] = ()) -> None:
        if limit_per_minute < 1:
            raise ValueError("a budget allows at least one request a minute")
        self._limit = limit_per_minute
        self._effective = float(limit_per_minute)
        self._burst = 1.0 if limit_per_minute == 1 else max(2.0, limit_per_minute * _BURST_SHARE)
        self._spent: deque[float] = deque(sorted(spent))
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._throttled_at: float | None = None
        self._won_back_at: float | None = None
        for moment in self._spent:
            self._fill(moment)
            self._take()

    @property
    def effective(self) -> float:
        """Requests a minute allowed at present: the limit, less what 429s took."""
        return self._effective

    def wait_s(self, now: float) -> float:
        """Seconds to wait before the next request; 0 when it may be made now."""
        self._advance(now)
        missing = max(0.0, 1.0 - self._tokens)
        for_token_s = missing / self._rate_per_s
        for_window_s = 0.0
        allowed = int(self._effective)
        if len(self._spent) >= allowed:
            for_window_s = self._spent[-allowed] + WINDOW_S - now
        wait_s = max(for_token_s, for_window_s)
        return wait_s if wait_s > _TOLERANCE else 0.0

    def spend(self, now: float) -> None:
        """A request is made now."""
        self._advance(now)
        self._spent.append(now)
        self._take()

    def times(self, now: float) -> tuple[float, ...]:
        """When the requests were made that still count against the limit, oldest first."""
        self._advance(now)
        return tuple(self._spent)

    def throttled(self, now: float) -> None:
        """The API answered 429: halve the limit, once for a burst of them, and start even spacing at once."""
        if self._throttled_at is None or now - self._throttled_at >= _THROTTLED_EVERY_S:
            self._advance(now)
            self._effective = max(1.0, self._effective / 2)
            self._tokens = 0.0
            self._throttled_at = now
        self._won_back_at = now

    def succeeded(self, now: float) -> None:
        """The API answered: a minute of answers wins back a tenth of the limit."""
        if self._effective < self._limit and self._won_back_at is not None:
            elapsed_s = min(max(0.0, now - self._won_back_at), _LONGEST_RECOVERY_S)
            self._advance(now)
            won = self._limit * _RECOVERY_SHARE * elapsed_s / 60
            self._effective = min(float(self._limit), self._effective + won)
        self._won_back_at = now

    @property
    def _rate_per_s(self) -> float:
        return self._effective / 60

    def _advance(self, now: float) -> None:
        """Forget what no longer counts. Requests dated after now, as a restart may bring them, count as made now."""
        for index in range(len(self._spent) - 1, -1, -1):
            if self._spent[index] <= now:
                break
            self._spent[index] = now
        while self._spent and self._spent[0] <= now - WINDOW_S:
            self._spent.popleft()
        self._fill(now)

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            gained = max(0.0, now - self._filled_at) * self._rate_per_s
            self._tokens = min(self._burst, self._tokens + gained)
        self._filled_at = now

    def _take(self) -> None:
        self._tokens = max(0.0, self._tokens - 1.0)
