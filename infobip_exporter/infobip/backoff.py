"""How long to wait after failures: exponential with full jitter, so that many exporters don't return as one."""

import random

_MOST_DOUBLINGS = 32


class Backoff:
    """Waits of a random share of `base_s`, doubled with each failure up to `cap_s`, and never below `floor_s`.

    `rng` draws the share. After a success, `reset`.
    """

    def __init__(
        self, rng: random.Random, base_s: float = 1.0, cap_s: float = 60.0, floor_s: float = 0.0
    ) -> None:
        self._rng = rng
        self._base_s = base_s
        self._cap_s = cap_s
        self._floor_s = floor_s
        self._failures = 0

    def next_s(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait after one more failure. What the API's Retry-After asked for is the least."""
        longest_s = min(self._cap_s, self._base_s * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        wait_s = self._rng.uniform(self._floor_s, max(self._floor_s, longest_s))
        if retry_after_s is None or retry_after_s <= wait_s:
            return wait_s
        return retry_after_s + self._rng.uniform(0.0, min(self._base_s, longest_s))

    def reset(self) -> None:
        """It worked: the next failure is the first again."""
        self._failures = 0
