"""The oracle: at the end the counters equal the world's truth, or the difference is owned up to.

For each message it works out how it may have been counted. Nearly always there is one way. There are more for a
message sent in time told as lost (it may have been seen or not), for one that settled when no look was due any more,
and for one whose final status changed before it was first seen. A counter must lie between the least and the most
that these ways add up to.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.counting.labels import OTHER
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import Histogram, Series
from infobip_exporter.reading.dialogue import COMMON_CAP
from infobip_exporter.reading.outlook import LAST_LOOK_BEFORE_MS
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.sandbox.message import Message, Step
from infobip_exporter.sandbox.truth import normalised
from simulation.api import Witness

Key = tuple[str, tuple[str, ...]]
Way = dict[Key, int | Decimal]
"""What a message adds to the counters if it is counted in this way."""

SLACK_MS = 5000
ENOUGH_CHANCES = 20
ODD_ROWS = 6
"""Rows that strays and duplicates take from a page."""
EXACT = (
    catalog.SENT.name, catalog.MESSAGES.name, catalog.UNRESOLVED.name, catalog.PARTS.name, catalog.COST.name,
    catalog.REJECTED.name,
)  # fmt: skip
HISTOGRAM = catalog.DELIVERY_DURATION.name
SUM = HISTOGRAM + "_sum"


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll that ended. Moments by the API's clock; `eager` is whether it used up its requests."""

    began_ms: int
    ended_ms: int
    well: bool
    eager: bool


@dataclass(slots=True)
class Evidence:
    """What happened to one feed: all the oracle goes by, besides the world itself."""

    begin_ms: int
    frontier_ms: int
    lost: SpanSet
    witness: Witness
    polls: list[Poll] = field(default_factory=list)
    interval_ms: int = 30_000
    label_cap: int = 1000
    withheld: AbstractSet[str] = frozenset()
    """Messages that the API has kept out of an answer that should have shown them: they may be missed."""
    short: bool = False
    """Whether the API keeps records back at times: then a look may have been in vain, and outcomes be missed."""
    doubtful: SpanSet = SpanSet()
    """Sent time around a moment to which the API's clock was set back: what turns up then may be missed."""


def compare(
    messages: Iterable[Message],
    others: Iterable[Message],
    evidence: Evidence,
    counters: Mapping[Series, int | Decimal],
    histograms: Mapping[Series, Histogram],
) -> list[str]:
    """What of the counters can't be right, a line each. `others` are messages outside of what is counted."""
    least: Counter[Key] = Counter()
    most: Counter[Key] = Counter()
    problems: list[str] = []
    statuses: set[str] = set()
    for message in messages:
        statuses.update(normalised(step.status.group_name) for step in message.steps)
        ways = list(_ways(message, evidence, problems))
        for key in dict.fromkeys(key for way in ways for key in way):
            least[key] += min(way.get(key, 0) for way in ways)  # type: ignore[assignment]
            most[key] += max(way.get(key, 0) for way in ways)  # type: ignore[assignment]
    for message in others:
        if message.defect:
            most[catalog.REJECTED.name, (message.defect,)] += 1
    counted = dict(_counted(counters, histograms))
    capped = _capped(most, statuses, evidence.label_cap)
    if capped:
        least, most, counted = _totals(least), _totals(most), dict(_totals(counted))
        problems += _beyond_cap(counters, evidence.label_cap)
    elif overflowed := [s for s in counters if s.family == catalog.OVERFLOW.name or OTHER in s.labels]:
        problems.append(f"counted under {OTHER} below the cap: {overflowed}")
    for key in sorted({*most, *counted}):
        value, low, high = counted.get(key, 0), least.get(key, 0), most.get(key, 0)
        if not low <= value <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            problems.append(f"{key[0]}{list(key[1])} is {value}, should be {wanted}")
    return problems


def needless(messages: Sequence[Message], evidence: Evidence, page_limit: int) -> list[str]:
    """Time told as lost without need, a line each. `messages` are all that the log had, oldest first."""
    problems = []
    for span in evidence.lost:
        leaves_ms = span.until_ms + LOG_KEEPS_MS
        chances = sum(
            poll.well
            and not poll.eager
            and span.until_ms < poll.began_ms
            and poll.ended_ms < leaves_ms - 600_000
            for poll in evidence.polls
        )
        crowd = _most_in_three_ms(messages, span)
        if chances >= ENOUGH_CHANCES and crowd < min(page_limit, COMMON_CAP) - ODD_ROWS:
            problems.append(
                f"{span} told as lost: {chances} polls could read it, and at most {crowd} rows crowd it"
            )
    return problems


def _most_in_three_ms(messages: Sequence[Message], span: Span) -> int:
    """The most messages of any three milliseconds in `span`: what a question for one of them may have to show."""
    first = bisect_left(messages, span.since_ms - 1, key=lambda message: message.sent_ms)
    last = bisect_left(messages, span.until_ms + 1, key=lambda message: message.sent_ms)
    moments = Counter(message.sent_ms for message in messages[first:last])
    return max((sum(moments[at_ms + step] for step in (-1, 0, 1)) for at_ms in list(moments)), default=0)


def _ways(message: Message, evidence: Evidence, problems: list[str]) -> Iterator[Way]:
    if message.visible_ms >= message.leaves_ms:
        yield {}
        return
    lost = (
        message.sent_ms in evidence.lost
        or message.sent_ms in evidence.doubtful
        or message.message_id in evidence.withheld
    )
    if message.defect:
        yield {(catalog.REJECTED.name, (message.defect,)): 1}
        if lost:
            yield {}
        return
    shown = message.message_id in evidence.witness.shown
    if lost:
        yield {}
    if not shown:
        if not lost:
            problems.append(f"{message.message_id}, sent {message.sent_ms}, was never in an answer")
        return
    yield from _outcomes(message, evidence, [] if lost else problems, lost=lost)


def _outcomes(message: Message, evidence: Evidence, problems: list[str], *, lost: bool) -> Iterator[Way]:
    settles = next((step for step in message.steps if step.final), None)
    shown = evidence.witness.finals.get(message.message_id, {})
    for step in _by_group(message.steps):
        if step.final and normalised(step.status.group_name) in shown:
            yield _settled(message, step)
    excused = (
        lost
        or evidence.short
        or settles is None
        or _excused(max(settles.at_ms, message.visible_ms), message.leaves_ms, evidence)
    )
    if not shown and not excused:
        problems.append(
            f"{message.message_id}, sent {message.sent_ms}, settled {settles.at_ms if settles else None}, was not"
            f" looked at again before it left at {message.leaves_ms}"
        )
    if not shown or excused:
        for step in _by_group(message.steps):
            if not step.final:
                yield _unresolved(message, step)


def _by_group(steps: Iterable[Step]) -> list[Step]:
    """The first step of each status group."""
    return list({step.status.group_name: step for step in reversed(list(steps))}.values())


def _excused(settled_ms: int, leaves_ms: int, evidence: Evidence) -> bool:
    """Whether no poll that could have looked came between settling and leaving, or none with requests to spare."""
    last_look_ms = leaves_ms - max(LAST_LOOK_BEFORE_MS, 3 * evidence.interval_ms)
    if settled_ms > last_look_ms - SLACK_MS:
        return True
    done_ms = last_look_ms + max(evidence.interval_ms, 60_000) + SLACK_MS
    polls = evidence.polls
    first = bisect_left(polls, done_ms, key=lambda poll: poll.began_ms)
    looks = [poll for poll in polls[first : first + 100] if poll.ended_ms < leaves_ms - SLACK_MS]
    return not any(poll.well and not poll.eager for poll in looks)


def _settled(message: Message, step: Step) -> Way:
    status = normalised(step.status.group_name)
    error_group = normalised(step.error.group_name) if step.error is not None else ""
    platform = (message.entity_id, message.application_id)
    way: Way = {
        (catalog.SENT.name, platform): 1,
        (catalog.MESSAGES.name, (status, error_group, *platform)): 1,
        (catalog.PARTS.name, (status, *platform)): message.parts,
    }
    if step.price is not None:
        way[catalog.COST.name, (step.currency, status, *platform)] = step.price * message.parts
    if message.done_told:
        done_ms = next(each.at_ms for each in message.steps if each.final)
        took = Decimal(done_ms - message.sent_ms).scaleb(-3)
        bucket = bisect_left([Decimal(str(bound)) for bound in catalog.DELIVERY_DURATION.buckets], took)
        way[HISTOGRAM, (status, str(bucket))] = 1
        way[SUM, (status,)] = took
    return way


def _unresolved(message: Message, step: Step) -> Way:
    platform = (message.entity_id, message.application_id)
    status = normalised(step.status.group_name)
    return {(catalog.SENT.name, platform): 1, (catalog.UNRESOLVED.name, (status, *platform)): 1}


def _counted(
    counters: Mapping[Series, int | Decimal], histograms: Mapping[Series, Histogram]
) -> Iterator[tuple[Key, int | Decimal]]:
    for series, value in counters.items():
        if series.family in EXACT:
            yield (series.family, series.labels), value
    for series, observed in histograms.items():
        if series.family == HISTOGRAM:
            yield (SUM, series.labels), observed.sum_s
            for bucket, count in enumerate(observed.counts):
                if count:
                    yield (HISTOGRAM, (*series.labels, str(bucket))), count


_LABELS = {family.name: family.labels for family in catalog.FAMILIES}


def _capped(most: Iterable[Key], statuses: set[str], cap: int) -> bool:
    """Whether some label has more values than it may show; messages may have been in flight under any of `statuses`."""
    values = {"general_status": set(statuses)}
    for family, labels in most:
        for label, value in zip(_LABELS.get(family, ()), labels, strict=False):
            values.setdefault(label, set()).add(value)
    return any(len(seen - {""}) > cap for seen in values.values())


def _beyond_cap(counters: Iterable[Series], cap: int) -> list[str]:
    """Labels that show more values than they may."""
    values: dict[str, set[str]] = {}
    for family, labels in counters:
        if family in EXACT:
            for label, value in zip(_LABELS[family], labels, strict=True):
                values.setdefault(label, set()).add(value)
    shown = {label: seen - {"", OTHER} for label, seen in values.items() if label != "reason"}
    return [
        f"{label} shows {len(seen)} values, {cap} are allowed"
        for label, seen in shown.items()
        if len(seen) > cap
    ]


def _totals(values: Mapping[Key, int | Decimal]) -> Counter[Key]:
    totals: Counter[Key] = Counter()
    for (family, labels), value in values.items():
        key = (family, labels if family == catalog.REJECTED.name else ())
        totals[key] += value  # type: ignore[assignment]
    return totals
