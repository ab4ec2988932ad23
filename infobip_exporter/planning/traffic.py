"""How many rows a second to expect, from what the reads so far have brought."""

import math
from dataclasses import dataclass

LOST_BY_NOISE = 0.97
"""An estimate of failures falls by at most this factor a read, so that a pause between two failures is none."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages a second, as the head reads found them."""

    rows_per_s: float = 0.0

    def observed(self, rows: int, seconds: float) -> "Traffic":
        """The estimate after `rows` messages were sent in the `seconds` that a head read advanced.

        Numbers that chance explains are averaged; where the traffic has changed, the last number counts alone: a
        guess too low makes all its pages come back full, one too high asks for pages that are nearly empty.
        """
        if seconds <= 0:
            return self
        expected = self.rows_per_s * seconds
        if abs(rows - expected) > 3 * math.sqrt(max(rows, expected, 1.0)):
            return Traffic(rows / seconds)
        return Traffic((self.rows_per_s + rows / seconds) / 2)


@dataclass(frozen=True, slots=True)
class FailureTraffic:
    """Messages a second that come to one failure status, by the time they were sent."""

    rows_per_s: float = 0.0

    def observed(self, rows: int, seconds: float, *, full: bool) -> "FailureTraffic":
        """The estimate after a page of the status, asked for `seconds` of sent time, brought `rows`."""
        if seconds <= 0:
            return self
        if full:
            return FailureTraffic(max(self.rows_per_s * 1.5, rows / seconds))
        return FailureTraffic(max(self.rows_per_s * LOST_BY_NOISE, rows / seconds))
