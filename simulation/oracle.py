"""The oracle: at the end the counters equal the world's truth, or the difference is owned up to.

For each message it works out how it may have been counted. Nearly always there is one way. There are more for a message
sent in time told as lost (it may have been seen or not), for one that turned up after its time was final, for one that
settled when no read was due any more, and for one whose final status changed before it was first seen. A counter must
lie between the least and the most that these ways add up to.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from typing import Any

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import Choice, Family
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.labels import LABELS, OTHER, Label
from infobip_exporter.model.series import Histogram, Series
from infobip_exporter.model.time_range import TimeRange, TimeRanges
from infobip_sandbox import rows
from infobip_sandbox.message import Message, Step
from infobip_sandbox.quirks import DOCUMENTED, Quirks
from infobip_sandbox.truth import duration_ms, error_of, normalised
from simulation.api import Final, History, Who
from simulation.check import Proof

Pairs = tuple[tuple[str, str], ...]
Key = tuple[str, Pairs]
"""A family and its labels, those without a value left out."""
Way = dict[Key, int | Decimal]
"""What a message adds to the counters if it is counted in this way."""

SLACK_MS = 5000
LAST_LOOK_BEFORE_MS = 180_000
"""Messages in flight are asked for a last time so long before they leave (DESIGN, what to ask next)."""
ENOUGH_CHANCES = 20
COMMON_CAP = 50
ODD_ROWS = 6
"""Rows that strays and duplicates take from a page."""
HISTOGRAM = catalog.DELIVERY_DURATION.name
SUM = HISTOGRAM + "_sum"
_EXACT = {
    family.name: family
    for family in (
        catalog.SENT, catalog.MESSAGES, catalog.FAILURES, catalog.UNRESOLVED, catalog.PARTS, catalog.COST,
        catalog.REJECTED,
    )
}  # fmt: skip
_OWN = {family.name: family.labels for family in catalog.FAMILIES} | {SUM: catalog.DELIVERY_DURATION.labels}
BUCKET = "bucket"


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll that ended. Moments by the API's clock; `eager` is whether it used up its requests, `knows` whether answers
    can have told the API's time.
    """

    began_ms: int
    ended_ms: int
    well: bool
    eager: bool
    knows: bool = True


@dataclass(slots=True)
class Evidence:
    """What happened to one feed: all the oracle goes by, besides the world itself."""

    begin_ms: int
    watermark_ms: int
    lost: TimeRanges
    history: History
    sent_ms: Sequence[int] = ()
    """The sent times of all that the log had, sorted."""
    page_limit: int = 1000
    finals: Sequence[Proof] = ()
    audits: Sequence[Proof] = ()
    polls: list[Poll] = field(default_factory=list)
    interval_ms: int = 30_000
    label_cap: int = 1000
    clock_error_ms: int = 0
    """How far the API's now, as its answers tell it, may be from the clock that stamps sent times."""
    withheld: AbstractSet[Who] = frozenset()
    """Messages that the API has kept out of an answer that should have shown them: they may be missed."""
    moved: AbstractSet[str] = frozenset()
    """Ids of messages that the log shows at two sent times, one after the other."""
    short: bool = False
    """Whether the API keeps records back at times: then a read may have been in vain, and outcomes be missed."""
    doubtful: TimeRanges = TimeRanges()
    """Sent time in which messages may be missed, because nobody could know the API's time."""
    channel: str = "instagram"
    quirks: Quirks = DOCUMENTED
    choices: Sequence[Choice] = (Choice(),)
    """The labels that were counted by, one after the other."""

    def may_be_final(self, sent_ms: int, at_ms: int) -> bool:
        """Whether the time around `sent_ms` may have been read for the last time before `at_ms`."""
        return any(
            each.range.since_ms - SLACK_MS <= sent_ms < each.range.until_ms + SLACK_MS
            and each.asked_ms - self.clock_error_ms - SLACK_MS <= at_ms
            for each in self.finals
        )

    def are_crowded(self, one_ms: int, other_ms: int) -> bool:
        """Whether two moments and all between may be too much for one page: then a move can't be told from a new message."""
        first = bisect_left(self.sent_ms, min(one_ms, other_ms) - 1)
        last = bisect_right(self.sent_ms, max(one_ms, other_ms) + 1)
        return last - first >= min(self.page_limit, COMMON_CAP) - ODD_ROWS

    def is_surely_final(self, sent_ms: int, at_ms: int) -> bool:
        """Whether the time around `sent_ms` was final before `at_ms`."""
        return any(each.range.holds(sent_ms) and each.at_ms < at_ms for each in self.finals)

    def is_surely_audited(self, sent_ms: int, at_ms: int) -> bool:
        """Whether the time around `sent_ms` was held against the log after `at_ms`."""
        return any(
            each.range.holds(sent_ms) and each.asked_ms - self.clock_error_ms - SLACK_MS > at_ms
            for each in self.audits
        )


def compare(
    messages: Iterable[Message],
    others: Iterable[Message],
    evidence: Evidence,
    counters: Mapping[Series, int | Decimal],
    histograms: Mapping[Series, Histogram],
) -> list[str]:
    """What of the counters can't be right, a line each. `others` are messages outside of what is counted."""
    problems: list[str] = []
    statuses: set[str] = set()
    ways: list[list[Way]] = []
    for places in _by_message(messages, evidence.moved):
        statuses.update(normalised(step.status.group_name) for step in places[0].steps)
        ways.append(list(_ways(places, evidence, problems)))
    rejected = Counter(str(message.defect) for message in others if message.defect)
    counted = dict(_counted(counters, histograms))
    most = {key for each in ways for way in each for key in way}
    if _capped(most, statuses, evidence.label_cap):
        problems += _beyond_cap(counters, evidence.label_cap)
        return problems + _differences(ways, rejected, counted, _total)
    if overflowed := [s for s in counters if s.family == catalog.OVERFLOW.name or _has_other(s)]:
        problems.append(f"counted under {OTHER} below the cap: {overflowed}")
    problems += _differences(ways, rejected, counted, lambda key: key)
    if len(evidence.choices) > 1:  # nobody knows under which of them a message was counted, but it was
        problems += _differences(ways, rejected, counted, _without_chosen)
    return problems


def _differences(
    ways: Iterable[Iterable[Way]],
    rejected: Mapping[str, int],
    counted: Mapping[Key, int | Decimal],
    project: Callable[[Key], Key],
) -> list[str]:
    """Which counters, summed up by what `project` leaves of their labels, are not between the least and the most."""
    least: Counter[Key] = Counter()
    most: Counter[Key] = Counter()
    for defect, messages in rejected.items():
        most[project(_key(catalog.REJECTED.name, reason=defect))] += messages
    for each in ways:
        projected = [_summed(way, project) for way in each]
        for key in dict.fromkeys(key for way in projected for key in way):
            least[key] += min(way.get(key, 0) for way in projected)
            most[key] += max(way.get(key, 0) for way in projected)
    problems = []
    shown = _summed(counted, project)
    for key in sorted({*most, *shown}):
        value, low, high = shown.get(key, 0), least.get(key, 0), most.get(key, 0)
        if not low <= value <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            problems.append(f"{key[0]}{dict(key[1])} is {value}, should be {wanted}")
    return problems


def _key(family: str, **labels: str) -> Key:
    return family, tuple((name, value) for name, value in labels.items() if value)


def _summed(values: Mapping[Key, int | Decimal], project: Callable[[Key], Key]) -> Counter[Key]:
    sums: Counter[Key] = Counter()
    for key, value in values.items():
        sums[project(key)] += value  # type: ignore[assignment]
    return sums


def _total(key: Key) -> Key:
    return key if key[0] == catalog.REJECTED.name else (key[0], ())


def _without_chosen(key: Key) -> Key:
    family, labels = key
    return family, tuple(pair for pair in labels if pair[0] in (*_OWN[family], BUCKET))


def _by_message(messages: Iterable[Message], moved: AbstractSet[str]) -> Iterator[list[Message]]:
    """The places of each message: one, or two where it has moved."""
    places: dict[str, list[Message]] = {}
    for message in messages:
        if message.message_id in moved:
            places.setdefault(message.message_id, []).append(message)
        else:
            yield [message]
    yield from places.values()


def audited(
    messages: Iterable[Message], evidence: Evidence, counters: Mapping[Series, int | Decimal]
) -> list[str]:
    """What the audit has reported that can't be, a line each. `messages` are those that are counted."""
    told = {s.label("result"): int(n) for s, n in counters.items() if s.family == catalog.AUDIT.name}
    least = most = odd = 0
    for message in messages:
        if message.defect or message.unshowable or message.visible_ms >= message.leaves_ms:
            continue
        if message.message_id in evidence.moved or _who(message) in evidence.withheld or _changes(message):
            odd += 1
        elif evidence.may_be_final(message.sent_ms, message.visible_ms):
            most += 1
            least += (
                evidence.is_surely_final(message.sent_ms, message.visible_ms)
                and evidence.is_surely_audited(message.sent_ms, message.visible_ms)
                and not evidence.lost.holds(message.sent_ms)
            )
        elif evidence.lost.holds(message.sent_ms) or evidence.doubtful.holds(message.sent_ms):
            odd += 1
    missed, vanished = told.get("missed", 0), told.get("vanished", 0)
    problems = []
    if not (least - odd <= missed <= most + 2 * odd) and not evidence.short:
        problems.append(
            f"the audit reports {missed} missed messages, should be {least} to {most} and {odd} odd ones"
        )
    if vanished > 2 * odd and not evidence.short:
        problems.append(f"the audit reports {vanished} vanished messages, there are {odd} odd ones")
    return problems


def _changes(message: Message) -> bool:
    """Whether the final status of a message changes."""
    return len({step.status.group_name for step in message.steps if step.final}) > 1


def needless(messages: Sequence[Message], evidence: Evidence) -> list[str]:
    """Time told as lost without need, a line each. `messages` are all that the log had, oldest first."""
    problems = []
    for lost in evidence.lost:
        leaves_ms = lost.until_ms + LOG_KEEPS_MS
        chances = sum(
            poll.well
            and not poll.eager
            and poll.knows
            and lost.until_ms < poll.began_ms
            and poll.ended_ms < leaves_ms - 600_000
            for poll in evidence.polls
        )
        if (
            chances < ENOUGH_CHANCES
            or evidence.doubtful.meet(lost)
            or any(
                message.unshowable
                for message in messages
                if lost.since_ms - 2 <= message.sent_ms < lost.until_ms + 2
            )
        ):
            continue
        rows = _most_in_three_ms(messages, lost)
        if rows < min(evidence.page_limit, COMMON_CAP) - ODD_ROWS:
            problems.append(
                f"{lost} told as lost: {chances} polls could read it, and at most {rows} rows are in a millisecond"
            )
    return problems


def _most_in_three_ms(messages: Sequence[Message], lost: TimeRange) -> int:
    """The most messages of any three milliseconds in `lost`: what a query for one of them may have to show."""
    first = bisect_left(messages, lost.since_ms - 1, key=lambda message: message.sent_ms)
    last = bisect_left(messages, lost.until_ms + 1, key=lambda message: message.sent_ms)
    moments = Counter(message.sent_ms for message in messages[first:last])
    return max((sum(moments[at_ms + step] for step in (-1, 0, 1)) for at_ms in list(moments)), default=0)


def _ways(places: list[Message], evidence: Evidence, problems: list[str]) -> Iterator[Way]:
    message = places[0]
    if message.visible_ms >= message.leaves_ms or message.unshowable:
        yield {}
        return
    excused = any(_may_be_missed(place, evidence) for place in places)
    if message.defect:
        yield {_key(catalog.REJECTED.name, reason=message.defect): 1}
        if excused:
            yield {}
        return
    if excused:
        yield {}
    if not any(_who(place) in evidence.history.shown for place in places):
        if not excused:
            problems.append(f"{message.message_id}, sent {message.sent_ms}, was never in an answer")
        return
    once = list(_outcomes(places, evidence, [] if excused else problems, excused=excused))
    yield from once
    if len(places) > 1 and (
        evidence.are_crowded(places[0].sent_ms, places[-1].sent_ms)
        or any(evidence.may_be_final(place.sent_ms, places[-1].visible_ms) for place in places)
    ):
        yield from (_both(way, way) for way in once)
        # Or in flight for good at the old place, where no full page can show that it is gone.
        left = [
            other
            for step in message.steps
            if not step.final
            for other in _unresolved(message, step, evidence)
        ]
        yield from (_both(way, other) for way in once for other in left)


def _both(one: Way, other: Way) -> Way:
    return {key: one.get(key, 0) + other.get(key, 0) for key in one | other}


def _who(message: Message) -> Who:
    return message.message_id, message.sent_ms


def _may_be_missed(message: Message, evidence: Evidence) -> bool:
    return (
        evidence.lost.holds(message.sent_ms)
        or evidence.doubtful.holds(message.sent_ms)
        or _who(message) in evidence.withheld
        or evidence.may_be_final(message.sent_ms, message.visible_ms)
        or _left_unnoticed(message, evidence)
    )


def _left_unnoticed(message: Message, evidence: Evidence) -> bool:
    """Whether it left the log before a poll could read it, and by the time that answers tell it was still there then."""
    told_ms = message.leaves_ms + evidence.clock_error_ms
    well = [poll for poll in evidence.polls if poll.well and poll.ended_ms >= message.visible_ms]
    return bool(well) and message.leaves_ms <= well[0].ended_ms and well[0].began_ms <= told_ms


def _outcomes(
    places: list[Message], evidence: Evidence, problems: list[str], *, excused: bool
) -> Iterator[Way]:
    message = places[0]
    settles = next((step for step in message.steps if step.final), None)
    shown: dict[Final, None] = {}
    for place in places:
        shown |= evidence.history.finals.get(_who(place), {})
    for final, step in {_final(step): step for step in reversed(message.steps) if step.final}.items():
        if final in shown:
            yield from _settled(places, step, evidence)
    may_stay = (
        excused
        or evidence.short
        or settles is None
        or _settled_late(max(settles.at_ms, message.visible_ms), message.leaves_ms, evidence)
    )
    if not shown and not may_stay:
        problems.append(
            f"{message.message_id}, sent {message.sent_ms}, settled {settles.at_ms if settles else None}, was not"
            f" asked for again before it left at {message.leaves_ms}"
        )
    if not shown or may_stay:
        for step in _by_group(message.steps):
            if not step.final:
                yield from _unresolved(message, step, evidence)


def _final(step: Step) -> Final:
    return (
        normalised(step.status.group_name),
        normalised(step.status.name),
        normalised(error_of(step)[0]),
    )


def _by_group(steps: Iterable[Step]) -> list[Step]:
    """The first step of each status group."""
    return list({step.status.group_name: step for step in reversed(list(steps))}.values())


def _settled_late(settled_ms: int, leaves_ms: int, evidence: Evidence) -> bool:
    """Whether no poll that could have read it came between settling and leaving, or none with requests to spare."""
    last_look_ms = leaves_ms - max(LAST_LOOK_BEFORE_MS, 3 * evidence.interval_ms) - evidence.clock_error_ms
    if settled_ms > last_look_ms - SLACK_MS:
        return True
    done_ms = last_look_ms + max(evidence.interval_ms, 60_000) + SLACK_MS
    polls = evidence.polls
    first = bisect_left(polls, done_ms, key=lambda poll: poll.began_ms)
    looks = [
        poll
        for poll in polls[first : first + 100]
        if poll.ended_ms < leaves_ms - SLACK_MS - evidence.clock_error_ms
    ]
    return not any(poll.well and not poll.eager for poll in looks)


def _settled(places: list[Message], step: Step, evidence: Evidence) -> Iterator[Way]:
    message = places[0]
    status, name, error = _final(step)
    error_group = normalised(step.error.group_name) if step.error is not None else ""
    for first, then in product(evidence.choices, evidence.choices):
        sent = _chosen(message, step, first.sent, evidence)
        labels = sent | _chosen(
            message, step, [each for each in then.labels if each not in then.sent], evidence
        )
        way: Way = {
            _of_labels(catalog.SENT, sent): 1,
            _of_labels(catalog.MESSAGES, labels, general_status=status, error_group=error_group): 1,
            _of_labels(catalog.PARTS, labels, general_status=status): message.parts,
        }
        if status != "DELIVERED":
            entity = {each: sent[each] for each in sent if each == "entity_id" and each in then.labels}
            why = {"status": name, "error": error, "permanent": error_of(step)[1]}
            way[_of_labels(catalog.FAILURES, entity, general_status=status, **why)] = 1
        durations = _chosen(message, step, then.duration_labels, evidence)
        for place in places:
            took_ms = duration_ms(place, next(each for each in message.steps if each.final))
            took = _took(took_ms, {**durations, "general_status": status})
            for price in _prices(message, step, evidence):
                for cost in _costs(price, labels, message, evidence, later=price is not step):
                    yield way | cost | took


def _chosen(message: Message, step: Step, names: Iterable[str], evidence: Evidence) -> dict[str, str]:
    """The values of the labels called `names`, by the row that the API shows of the message in `step`."""
    row = rows.row(message, step.at_ms, evidence.quirks)
    core = {
        "entity_id": message.entity_id,
        "application_id": message.application_id,
        "status": _final(step)[1],
        "error": _final(step)[2],
    }
    return {name: core[name] if name in core else _shown(LABELS[name], row, evidence) for name in names}


def _shown(label: Label, row: Mapping[str, Any], evidence: Evidence) -> str:
    value: Any = row if label.channels is None or evidence.channel in label.channels else None
    for key in label.path:
        value = value.get(key) if isinstance(value, dict) else None
    return label.value(value) if isinstance(value, str) else ""


def _of_labels(family: Family, labels: Mapping[str, str], **own: str) -> Key:
    """The key of a series with these labels, in the table's order."""
    values = {**own, **labels}
    return _key(family.name, **{name: values[name] for name in LABELS if name in values})


def _prices(message: Message, step: Step, evidence: Evidence) -> Iterator[Step]:
    """The steps whose price may have been counted for a message that settled in `step`."""
    later = [
        each
        for each in message.steps
        if each.status.group_name == step.status.group_name
        and each.price is not None
        and each.at_ms > step.at_ms
    ]
    if step.price is not None or not later:
        yield step
        return
    if (
        evidence.short
        or evidence.may_be_final(message.sent_ms, later[0].at_ms)
        or _may_be_missed(message, evidence)
    ):
        yield step
    yield later[0]


def _costs(
    step: Step, labels: Mapping[str, str], message: Message, evidence: Evidence, *, later: bool
) -> Iterator[Way]:
    """The cost by the price of `step`; one that came `later` counts under what the row shows by then."""
    if step.price is None or (not step.price and not step.currency):
        yield {}
        return
    own = {"currency": step.currency, "general_status": normalised(step.status.group_name)}
    by_then = (_chosen(message, step, choice.labels, evidence) for choice in evidence.choices)
    for each in by_then if later else (labels,):
        yield {_of_labels(catalog.COST, each, **own): step.price * message.parts}


def _took(took_ms: int | None, labels: Mapping[str, str]) -> Way:
    _, pairs = _of_labels(catalog.DELIVERY_DURATION, labels)
    if took_ms is None:  # the values of its labels take their places all the same
        return {(SUM, pairs): 0}
    took = Decimal(took_ms).scaleb(-3)
    bucket = bisect_left([Decimal(str(bound)) for bound in catalog.DELIVERY_DURATION.buckets], took)
    return {(HISTOGRAM, (*pairs, (BUCKET, str(bucket)))): 1, (SUM, pairs): took}


def _unresolved(message: Message, step: Step, evidence: Evidence) -> Iterator[Way]:
    status = normalised(step.status.group_name)
    for choice in evidence.choices:
        sent = _chosen(message, step, choice.sent, evidence)
        yield {
            _of_labels(catalog.SENT, sent): 1,
            _of_labels(catalog.UNRESOLVED, sent, general_status=status): 1,
        }


def _counted(
    counters: Mapping[Series, int | Decimal], histograms: Mapping[Series, Histogram]
) -> Iterator[tuple[Key, int | Decimal]]:
    for series, value in counters.items():
        if series.family in _EXACT:
            yield (series.family, series.labels), value
    for series, observed in histograms.items():
        if series.family == HISTOGRAM:
            yield (SUM, series.labels), observed.sum_s
            for bucket, count in enumerate(observed.counts):
                if count:
                    yield (HISTOGRAM, (*series.labels, (BUCKET, str(bucket)))), count


def _has_other(series: Series) -> bool:
    return any(value == OTHER for _, value in series.labels)


def _capped(most: Iterable[Key], statuses: set[str], cap: int) -> bool:
    """Whether some label has more values than it may show; messages may have been in flight under any of `statuses`."""
    values = {"general_status": set(statuses)}
    for _, labels in most:
        for label, value in labels:
            if label in LABELS and LABELS[label].capped:
                values.setdefault(label, set()).add(value)
    return any(len(seen - {""}) > cap for seen in values.values())


def _beyond_cap(counters: Iterable[Series], cap: int) -> list[str]:
    """Labels that show more values than they may."""
    values: dict[str, set[str]] = {}
    for series in counters:
        for label, value in series.labels if series.family in _EXACT else ():
            if label in LABELS and LABELS[label].capped:
                values.setdefault(label, set()).add(value)
    shown = {label: seen - {"", OTHER} for label, seen in values.items()}
    return [
        f"{label} shows {len(seen)} values, {cap} are allowed"
        for label, seen in shown.items()
        if len(seen) > cap
    ]
