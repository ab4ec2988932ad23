"""What a state holds, in figures, and whether it is sound."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import msgspec

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger import progress as progress_
from infobip_exporter.ledger.contents import Contents
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.ledger.store import Saved
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Choice, Family, labels_of
from infobip_exporter.model.cells import NEVER_MS
from infobip_exporter.model.labels import LABELS, optional_labels
from infobip_exporter.model.series import Histogram, Series, Value
from infobip_exporter.model.time_range import TimeRanges

_FAMILIES = {family.name: family for family in catalog.FAMILIES}


class FeedHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What the state holds of a feed. Moments are milliseconds since the epoch, ranges `[since, until]` pairs of them."""

    account: str
    channel: str
    sent: int
    settled: dict[str, int]
    unresolved: dict[str, int]
    in_flight: dict[str, int]
    oldest_in_flight_ms: int | None
    lost_s: dict[str, Decimal]
    audit: dict[str, int]
    watermark_ms: int | None
    read_up_to_ms: int | None
    unread: list[list[int]]
    provisional: list[list[int]]
    last_success_s: float | None


class StateHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What a state holds. `path` is the file or the database; `size_bytes` is with SQLite's write-ahead log."""

    path: str
    schema: int
    size_bytes: int
    feeds: list[FeedHeld]


def held(contents: Contents) -> StateHeld:
    """What a state holds. Raises LedgerError for what can't be read."""
    feeds = [
        _feed(account, channel, saved, _progress(saved, contents.where))
        for account, channel, saved in contents.feeds()
    ]
    return StateHeld(path=contents.where, schema=contents.schema, size_bytes=contents.size_bytes, feeds=feeds)


def findings(contents: Contents) -> Iterator[str]:
    """A line for each thing that is wrong with a state."""
    if damages := contents.damages():
        yield from damages
        return
    try:
        feeds = list(contents.feeds())
    except LedgerError as error:
        yield str(error)
        return
    for account, channel, saved in feeds:
        wrong = [
            *_wrong_time(saved),
            *(line for each in saved.series.items() for line in _wrong_series(*each)),
        ]
        # Values that can't be read can't be added up either.
        for line in wrong or [*_unconserved(saved), *_wrong_in_flight(saved)]:
            yield f"{account}/{channel}: {line}"


def _progress(saved: Saved, where: str) -> Progress:
    try:
        return progress_.decode(saved.progress)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise LedgerError(f"state {where}: the progress of a feed can't be read: run state check") from error


def _feed(account: str, channel: str, saved: Saved, progress: Progress) -> FeedHeld:
    oldest = [cell.oldest_in_flight_ms for cell in saved.cells if cell.in_flight]
    provisional = TimeRanges(
        cell.range for cell in saved.cells if not cell.final and cell.read_ms != NEVER_MS
    )
    return FeedHeld(
        account=account,
        channel=channel,
        sent=sum(_by(saved, catalog.SENT.name, "").values()),
        settled=_by(saved, catalog.MESSAGES.name, "general_status"),
        unresolved=_by(saved, catalog.UNRESOLVED.name, "general_status"),
        in_flight={
            status: n for status, n in _by(saved, catalog.IN_FLIGHT.name, "general_status").items() if n
        },
        oldest_in_flight_ms=min(oldest, default=None),
        lost_s={
            series.label("reason"): Decimal(value)
            for series, value in saved.series.items()
            if series.family == catalog.LOST.name and not isinstance(value, Histogram)
        },
        audit=_by(saved, catalog.AUDIT.name, "result"),
        watermark_ms=None if progress.begin_ms is None else progress.watermark_ms,
        read_up_to_ms=progress.read_up_to_ms,
        unread=[list(each) for each in progress.unread],
        provisional=[list(each) for each in provisional],
        last_success_s=progress.last_success_s,
    )


def _by(saved: Saved, family: str, label: str) -> dict[str, int]:
    """The sums of a family by one of its labels."""
    sums: Counter[str] = Counter()
    for series, value in saved.series.items():
        if series.family == family and isinstance(value, int):
            sums[series.label(label)] += value
    return dict(sums)


# What can be wrong


def _wrong_time(saved: Saved) -> Iterator[str]:
    """Cells are disjoint; unread ranges are sorted, lie below the watermark and in no cell that was read."""
    if not saved.progress:
        return
    try:
        progress = progress_.decode(saved.progress)
        ranges = msgspec.json.decode(saved.progress).get("unread", [])
    except (ValueError, TypeError):
        yield "the progress can't be read"
        return
    if any(since >= until for since, until in ranges) or any(b[0] <= a[1] for a, b in pairwise(ranges)):
        yield "unread ranges are empty, out of order or overlap"
    elif ranges and ranges[-1][1] > progress.watermark_ms:
        yield "unread ranges reach beyond the watermark"
    if any(cell.since_ms >= cell.until_ms for cell in saved.cells) or any(
        later.since_ms < earlier.until_ms for earlier, later in pairwise(saved.cells)
    ):
        yield "cells are empty or overlap"
    read = TimeRanges(cell.range for cell in saved.cells if cell.read_ms != NEVER_MS)
    if progress.unread.without(read) != progress.unread:
        yield "time is unread and read at once"


def _wrong_series(series: Series, value: Value) -> Iterator[str]:
    """Labels are those of the catalogue; a value is a number that has not fallen below zero."""
    family = _FAMILIES.get(series.family)
    names = [name for name, _ in series.labels]
    if family is None or not _can_have(family, names):
        yield f"series {series.family} has labels {dict(series.labels)}, which it can't have"
    elif isinstance(value, Histogram):
        sound = len(value.counts) == len(family.buckets) + 1 and min(value.counts) >= 0 and value.sum_s >= 0
        if not sound:
            yield f"histogram {series.family} {dict(series.labels)} is damaged"
    elif not value >= 0:
        yield f"series {series.family} {dict(series.labels)} is {value}, which is no total"


def _can_have(family: Family, names: list[str]) -> bool:
    """Whether a series of the family may have these labels, whichever were chosen when it began."""
    if not family.chosen:
        return names == list(family.labels)
    every = labels_of(family, Choice(tuple(optional_labels()), tuple(optional_labels())))
    return names == [name for name in every if name in names]


def _unconserved(saved: Saved) -> Iterator[str]:
    """For each value of the labels known when a message is sent: sent = settled + unresolved + in flight."""
    families = {
        catalog.SENT.name: "sent",
        catalog.MESSAGES.name: "settled",
        catalog.UNRESOLVED.name: "unresolved",
        catalog.IN_FLIGHT.name: "in flight",
    }
    sums: dict[tuple[tuple[str, str], ...], Counter[str]] = {}
    for series, value in saved.series.items():
        if series.family in families and isinstance(value, int):
            place = tuple((name, value) for name, value in series.labels if LABELS[name].sent)
            sums.setdefault(place, Counter())[families[series.family]] += value
    for place, found in sorted(sums.items()):
        if found["sent"] != found["settled"] + found["unresolved"] + found["in flight"]:
            named = ", ".join(f"{name} {value!r}" for name, value in place) or "without labels"
            yield f"{named}: {found['sent']} sent are not " + " + ".join(
                f"{found[part]} {part}" for part in ("settled", "unresolved", "in flight")
            )


def _wrong_in_flight(saved: Saved) -> Iterator[str]:
    total = sum(_by(saved, catalog.IN_FLIGHT.name, "").values())
    in_cells = sum(cell.in_flight for cell in saved.cells)
    if total != in_cells:
        yield f"{total} messages are in flight, the cells have {in_cells}"
