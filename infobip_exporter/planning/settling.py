"""How long messages take to settle: the feed's own distribution, learnt from what it counted."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS_PER_OCTAVE = 4
SHORTEST_S = 0.25
_OCTAVES = 19.5  # 0.25 s x 2**19.5 is 51 h: a message of any age in the log may still settle
EDGES_S: Floats = np.concatenate(
    ([0.0], SHORTEST_S * 2.0 ** (np.arange(BINS_PER_OCTAVE * _OCTAVES + 1) / BINS_PER_OCTAVE))
)
HALF_LIFE = 20_000
"""After so many messages an observation counts half: 3 minutes at 100 a second, when an incident changes everything,
hours at 1 a second; the slowest 0.5 % are still told by over a hundred messages."""


def _prior() -> Floats:
    """One message, spread evenly over the logarithm of 1 s to the last edge."""
    widths = np.diff(np.log(np.maximum(EDGES_S, 1.0)))
    return np.asarray(widths / widths.sum(), dtype=np.float64)


_PRIOR = _prior()


class SettlingTimes:
    """The distribution of the time from sentAt to doneAt, in seconds; between two edges it is even. Immutable.

    Observations fade, see `HALF_LIFE`. A prior that weighs one message keeps the chance to settle above 0 at any age,
    so that messages which settle late, or never, are asked for at ages that grow geometrically.
    """

    __slots__ = ("_at_edge", "_density", "_integral_at_edge", "_weights")

    def __init__(self, weights: Floats | None = None) -> None:
        self._weights = np.zeros(len(EDGES_S) - 1) if weights is None else weights
        mass = self._weights + _PRIOR
        widths = np.diff(EDGES_S)
        self._at_edge = np.concatenate(([0.0], np.cumsum(mass / mass.sum())))
        self._density = np.diff(self._at_edge) / widths
        halves = (self._at_edge[1:] + self._at_edge[:-1]) / 2
        self._integral_at_edge = np.concatenate(([0.0], np.cumsum(halves * widths)))

    def observed(self, seconds: NDArray[np.floating]) -> Self:
        """The distribution with these settling times added; a negative one counts as 0."""
        if len(seconds) == 0:
            return self
        added, _ = np.histogram(np.clip(seconds, 0, EDGES_S[-1]), EDGES_S)
        return type(self)(self._weights * 0.5 ** (len(seconds) / HALF_LIFE) + added)

    def at(self, ages_s: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """For each age the share of messages that settle before it, and the integral of that share up to it."""
        ages = np.clip(ages_s, 0.0, EDGES_S[-1])
        octaves = np.log2(np.maximum(ages, SHORTEST_S / 2) / SHORTEST_S)
        places = np.clip(np.floor(octaves * BINS_PER_OCTAVE).astype(np.intp) + 1, 0, len(self._density) - 1)
        beyond = ages - EDGES_S[places]
        share, density = self._at_edge[places], self._density[places]
        integral = self._integral_at_edge[places] + (share + density * beyond / 2) * beyond
        return share + density * beyond, integral

    def quantile(self, share: float) -> float:
        """The age in seconds by which `share` of the messages have settled."""
        return float(np.interp(share, self._at_edge, EDGES_S))

    def to_list(self) -> list[float]:
        """The observations, as numbers that JSON can hold."""
        return [round(weight, 3) for weight in self._weights.tolist()]

    @classmethod
    def from_list(cls, weights: Sequence[float]) -> Self:
        """The distribution that `to_list` wrote; the prior alone where it has other bins."""
        if len(weights) != len(EDGES_S) - 1:
            return cls()
        return cls(np.array(weights, dtype=np.float64))
