"""How long messages took to settle."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.metrics.catalog import Family
from infobip_exporter.model.series import Histogram
from infobip_exporter.model.time_range import HOUR_MS

LONGEST_MS = 49 * HOUR_MS
"""The log shows a message for 48 h: one that took longer to settle can't be in it."""


def is_possible(durations_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((durations_ms >= 0) & (durations_ms <= LONGEST_MS))


def histogram(family: Family, durations_ms: Sequence[int] | NDArray[np.int64]) -> Histogram:
    """The observations in the buckets of `family`."""
    bounds_ms = [round(bound_s * 1000) for bound_s in family.buckets]
    durations = np.asarray(durations_ms, np.int64)
    places = np.searchsorted(bounds_ms, durations, side="left")
    counts = tuple(np.bincount(places, minlength=len(bounds_ms) + 1).tolist())
    return Histogram(counts, Decimal(int(durations.sum())).scaleb(-3))
