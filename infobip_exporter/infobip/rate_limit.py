"""How many requests a feed may make: a hard limit for any minute, which 429s lower for a while."""

import math
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

WINDOW_S = 60.05
"""A minute and a little: requests that travel at unlike speed must not meet in one minute of the API's."""

_THROTTLED_EVERY_S = 10.0
_RECOVERY_SHARE = 0.1
_LONGEST_RECOVERY_S = 60.0
_CLOCKS_AGREE_S = 1.0
_ROUNDING_S = 1e-6
"""What rounding may take from a wait that was waited out."""


class RateLimiter:
    """A budget of `limit_per_minute` requests. `now` is always monotonic seconds and never falls.

    Never more requests than the limit in any 60 s, those at `spent` included (`restored`, after a restart); within
    that, as fast as the caller likes. A 429 halves the limit; success wins it back.
    """

    def __init__(self, limit_per_minute: int, spent: Iterable[float] = ()) -> None:
        if limit_per_minute < 1:
            raise ValueError("a budget allows at least one request a minute")
        self._limit = limit_per_minute
        self._effective = float(limit_per_minute)
        self._spent = deque(sorted(spent))
        self._throttled_at: float | None = None
        self._won_back_at: float | None = None

    @property
    def effective(self) -> float:
        """Requests a minute allowed at present: the limit, less what 429s took."""
        return self._effective

    def free(self, now: float) -> int:
        """How many requests may be made right now."""
        self._forget(now)
        allowed = int(self._effective)
        return max(0, allowed - len(self._spent))

    def wait_s(self, now: float, ends: float | None = None, interval_s: float = 60.0) -> float:
        """Seconds to wait before the next request; 0 when it may be made now.

        With `ends`, when the poll under way does, one request is kept for each poll, one in `interval_s`, that begins
        before another of the last minute's requests is forgotten.
        """
        free = self.free(now)
        kept = 0
        if ends is not None and self._spent:
            kept = max(0, math.ceil((self._spent[0] + WINDOW_S - ends) / interval_s))
        if free > kept:
            return 0.0
        return self._spent[max(0, len(self._spent) - int(self._effective))] + WINDOW_S - now

    def spend(self, now: float) -> None:
        """A request is made now."""
        self._spent.append(now)

    def times(self, now: float) -> tuple[float, ...]:
        """When the requests were made that still count against the limit, oldest first."""
        self._forget(now)
        return tuple(self._spent)

    def throttled(self, now: float) -> None:
        """The API answered 429: halve the limit, once for a burst of them."""
        if self._throttled_at is None or now - self._throttled_at >= _THROTTLED_EVERY_S:
            self._effective = max(1.0, self._effective / 2)
            self._throttled_at = now
        self._won_back_at = now

    def succeeded(self, now: float) -> None:
        """The API answered: a minute of answers wins back a tenth of the limit."""
        if self._won_back_at is not None:
            elapsed_s = min(now - self._won_back_at, _LONGEST_RECOVERY_S)
            won = self._limit * _RECOVERY_SHARE * elapsed_s / 60
            self._effective = min(float(self._limit), self._effective + won)
        self._won_back_at = now

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0] + WINDOW_S <= now + _ROUNDING_S:
            self._spent.popleft()


class Kept(msgspec.Struct, frozen=True):
    """The requests of the last minute as they are stored, with the clocks at that moment.

    `times` are monotonic seconds (RateLimiter.times), `boot_id` is what `boot_id()` gave.
    """

    times: tuple[float, ...]
    wall_s: float
    monotonic_s: float
    boot_id: str


def restored(kept: Kept, wall_s: float, monotonic_s: float, boot_id: str) -> list[float]:
    """When the kept requests were made, by a monotonic clock that shows `monotonic_s` now.

    How long ago that was is known only where it is the same clock (it starts anew with the machine) and the wall clock
    confirms it, which a suspend or a step between the two prevents. Else they count as just made.
    """
    parted_s = (wall_s - monotonic_s) - (kept.wall_s - kept.monotonic_s)
    if boot_id and boot_id == kept.boot_id and abs(parted_s) <= _CLOCKS_AGREE_S:
        return [min(time, monotonic_s) for time in kept.times]
    return [monotonic_s] * len(kept.times)


def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """What tells this start of the machine from every other; empty where the system has no such thing."""
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""
