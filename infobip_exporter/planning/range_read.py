"""Reading a range completely: only an answer that is not full proves it; one that is full is split."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infobip_exporter.model.record import Page
from infobip_exporter.model.time_range import TimeRange

COMMON_CAP = 50
"""A server that caps answers below the limit asked for does so at a round figure (the API's own default is 50)."""
FILL = 0.93
"""How full a page is aimed at: messages sent in a range of Poisson traffic exceed a page of 1000 at 930 expected ones
once in 80 times; at 950 once in 18 times, and each time costs one more request."""
MOST_PARTS = 64
"""A range that came back full is asked for in at most so many parts (with 8, tenfold bursts cost a twentieth more
requests; 512 change nothing)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a range still to be read. `open_ended`: it has no end, for it is read up to now."""

    range: TimeRange
    open_ended: bool = False


def is_full(page: Page, limit: int) -> bool:
    return page.rows >= limit


def may_be_capped(page: Page, limit: int) -> bool:
    """Whether the server may have left rows out without saying so."""
    return 0 < page.rows < limit and page.rows % COMMON_CAP == 0


def ignores_bounds(part: Part, page: Page, limit: int) -> bool:
    """Whether most records of an answer that may hold some back were sent at other times than asked for."""
    if not (is_full(page, limit) or may_be_capped(page, limit)):
        return False
    sent_ms = page.records.sent_ms
    beside = sent_ms < part.range.since_ms - 1
    if not part.open_ended:
        beside |= sent_ms > part.range.until_ms
    return bool(2 * beside.sum() > page.rows)


def split(part: Part, page: Page, limit: int, now_ms: int) -> list[Part]:
    """Smaller parts to be asked for instead of `part`, whose answer proved nothing; oldest first.

    `now_ms` ends an open-ended part; what comes after it is read with the newest of the parts. Empty for a single
    millisecond, which can't be split.
    """
    whole = TimeRange(
        part.range.since_ms, max(now_ms, part.range.since_ms + 1) if part.open_ended else part.range.until_ms
    )
    if whole.length_ms <= 1:
        return (
            [Part(whole), Part(TimeRange(*whole[1:], whole.until_ms + 1), open_ended=True)]
            if part.open_ended
            else []
        )
    cuts = _beside(whole, page) or (_cuts(whole, page, limit) if is_full(page, limit) else _halves(whole))
    edges = [whole.since_ms, *cuts, whole.until_ms]
    parts = [Part(TimeRange(since, until)) for since, until in pairwise(edges)]
    if part.open_ended:
        parts[-1] = Part(parts[-1].range, open_ended=True)
    return parts


def _beside(whole: TimeRange, page: Page) -> list[int]:
    """Where to cut if a millisecond beside the range fills the page: what does not touch it is asked for without it."""
    for beside_ms, cut_ms in (
        (whole.since_ms - 1, whole.since_ms + 1),
        (whole.until_ms, whole.until_ms - 1),
    ):
        if 2 * np.sum(page.records.sent_ms == beside_ms) > page.rows:
            return [cut_ms]
    return []


def _halves(whole: TimeRange) -> list[int]:
    return [(whole.since_ms + whole.until_ms) // 2]


def _cuts(whole: TimeRange, page: Page, limit: int) -> list[int]:
    """Where to cut so that each part should fill a page, by the rows that the full page has shown."""
    sent_ms = np.sort(page.records.sent_ms)
    shown = sent_ms[slice(*np.searchsorted(sent_ms, whole))].tolist()
    room = max(1, int(FILL * limit))
    if len(shown) < limit // 2 or 2 * (shown[-1] - shown[0]) > whole.length_ms:
        return _halves(whole)  # rows of everywhere: they do not tell where the others are
    if shown[0] == shown[-1]:  # one millisecond fills the page: the rows of the others are unknown
        return [cut for cut in (shown[0], shown[0] + 1) if whole.since_ms < cut < whole.until_ms]
    rows_per_ms = len(shown) / max(1, shown[-1] - shown[0])
    cuts: list[int] = []
    # The rest of the range is taken to hold as many rows a millisecond as the part that the page shows.
    if shown[-1] - whole.since_ms >= whole.until_ms - shown[0]:
        dense_ms = shown[-min(room, len(shown))]
        rest = TimeRange(whole.since_ms, dense_ms)
        cuts.append(dense_ms)
    else:
        dense_ms = shown[min(room, len(shown)) - 1] + 1
        rest = TimeRange(dense_ms, whole.until_ms)
        cuts.append(dense_ms)
    parts = min(MOST_PARTS, max(1, math.ceil(rest.length_ms * rows_per_ms / room)))
    cuts += [rest.since_ms + rest.length_ms * number // parts for number in range(1, parts)]
    inside = sorted({cut for cut in cuts if whole.since_ms < cut < whole.until_ms})
    return inside or _halves(whole)
