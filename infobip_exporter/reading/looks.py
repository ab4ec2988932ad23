"""Looks: asking again for messages in flight in closed time, at ages ever farther apart.

How far each rung of the ladder is done is kept as one moment of sent time, not as a due time for each message.
"""

from collections.abc import Collection
from typing import NamedTuple

from infobip_exporter.infobip.channels import LOG_KEEPS_MS
from infobip_exporter.infobip.query import MAX_LIST_LENGTH
from infobip_exporter.ledger.changes import Remembered
from infobip_exporter.reading.outlook import Outlook
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.task import LookUp, ReadSpan, Task, Why

PATIENCE = 0.25
"""How long a look may wait for company, as a part of the age it is due at: full requests instead of many."""
PATIENT_POLLS = 4
"""The same in polls, at the least, where a poll should make do with one request."""

NOTHING = Span(0, 0)
ALWAYS = Span(0, 1 << 62)

Waiting = list[tuple[str, Remembered]]


class Rung(NamedTuple):
    """An age of the ladder, the sent time whose look is due, and messages in flight there, oldest first."""

    age_ms: int
    due: Span
    waiting: Waiting

    @property
    def first_ms(self) -> int:
        return self.waiting[0][1].sent_ms

    def patience_ms(self, outlook: Outlook) -> float:
        """How long its first message may wait for company."""
        least_ms = outlook.interval_ms * (PATIENT_POLLS if outlook.takes_turns else 1)
        return min(max(least_ms, PATIENCE * self.age_ms), (LOG_KEEPS_MS - self.age_ms) / 3)


def due(outlook: Outlook, ladder: Collection[int], within: Span = ALWAYS, most: int = 1) -> list[Rung]:
    """The rungs with messages waiting for their look in `within`, oldest first; `most` messages of each."""
    rungs = []
    closed_ms = outlook.closed_up_to_ms
    in_flight = outlook.in_flight(
        Span(max(outlook.gone_before_ms, within.since_ms), min(closed_ms, within.until_ms)), 1
    )
    if not in_flight:
        return []
    for age_ms in sorted(ladder, reverse=True):
        looked_ms = max(outlook.progress.looked_ms.get(age_ms, 0), outlook.gone_before_ms)
        span = Span(looked_ms, min(outlook.due_before_ms(age_ms), closed_ms))
        inside = span.meet(within)
        if inside.length_ms and (waiting := _waiting(outlook, inside, most)):
            rungs.append(Rung(age_ms, span, waiting))
    return rungs


def looked_after(outlook: Outlook, looked: Span = NOTHING) -> dict[int, int]:
    """How far each rung is done once all in flight in `looked` have been looked at: to the first left waiting."""
    done = {}
    for age_ms in outlook.ladder:
        up_to_ms = max(outlook.progress.looked_ms.get(age_ms, 0), outlook.gone_before_ms)
        span = Span(up_to_ms, max(up_to_ms, outlook.due_before_ms(age_ms)))
        below = Span(span.since_ms, min(span.until_ms, max(span.since_ms, looked.since_ms)))
        above = Span(max(span.since_ms, looked.until_ms), span.until_ms)
        waiting = _waiting(outlook, below, 1) or _waiting(outlook, above, 1)
        done[age_ms] = waiting[0][1].sent_ms if waiting else span.until_ms
    return done


def _waiting(outlook: Outlook, span: Span, most: int) -> Waiting:
    """Messages in flight in `span`, oldest first. Time that the API fails to show misses its turn, nobody waits for it.

    What is open there may still be read again: a look would make it new.
    """
    if not outlook.stubborn:
        return outlook.in_flight(span, most)
    waiting: Waiting = []
    for part in SpanSet([span]).without(outlook.stubborn):
        waiting += outlook.in_flight(part, most - len(waiting))
        if len(waiting) == most:
            break
    return waiting


def look(outlook: Outlook) -> Task | None:
    """Messages in flight that are due for a look: by id, or by reading their span, whichever takes fewer requests.

    One that is due waits a while for others, so that requests go out full; then all that are due by id go along.
    """
    rungs = due(outlook, outlook.worthwhile(), most=outlook.limit)
    rungs.sort(key=lambda rung: _urgency(rung, outlook), reverse=True)
    by_id, others = [], []
    for rung in rungs:
        window, full = _window(rung, outlook)
        urgent = _is_urgent(rung, outlook)
        if _is_for_ids(rung, window, outlook) or (urgent and not full and _fit(rung.waiting, outlook)):
            by_id.append(rung)
        elif urgent or full:
            return ReadSpan(Why.LOOK, window, looked_after(outlook, window))
        else:
            others.append(rung)
    messages = _messages(by_id)
    full = len(messages) > outlook.enough * len(_fitting(messages))
    if not by_id or not (full or _is_urgent(by_id[0], outlook)):
        return None
    for rung in others:
        if _fit(more := _messages([*by_id, rung]), outlook):
            by_id.append(rung)
            messages = more
    taken = _fitting(messages)
    return LookUp(dict(taken), _looked_after_ids(outlook, by_id, {name for name, _ in taken}))


def _messages(rungs: list[Rung]) -> Waiting:
    """What waits on them, each message once."""
    return list(dict(message for rung in rungs for message in rung.waiting).items())


def _urgency(rung: Rung, outlook: Outlook) -> float:
    """How long the rung's first message has waited, in terms of its patience."""
    waited_ms = outlook.due_before_ms(rung.age_ms) - rung.first_ms
    return waited_ms / rung.patience_ms(outlook)


def _is_urgent(rung: Rung, outlook: Outlook) -> bool:
    """Whether the rung has waited as long as it may; the last look before messages leave makes way for nothing."""
    enough = 1 if rung.age_ms == outlook.ladder[-1] else outlook.enough
    return _urgency(rung, outlook) >= enough


def _window(rung: Rung, outlook: Outlook) -> tuple[Span, bool]:
    """The sent time from the rung's first message on that a request should hold, and whether it fills as many pages
    as are enough.
    """
    all_due = Span(rung.first_ms, rung.due.until_ms)
    widest = Span(rung.first_ms, min(rung.due.until_ms, rung.first_ms + outlook.widest_look_ms))
    window = page_full_from_below(widest, outlook)
    full = outlook.rows_in(all_due) >= outlook.enough * outlook.page or len(rung.waiting) >= outlook.limit
    return window, full


def _is_for_ids(rung: Rung, window: Span, outlook: Outlook) -> bool:
    """Whether a list would hold the messages in flight among what a page would hold."""
    inside = [message for message in rung.waiting if message[1].sent_ms < window.until_ms]
    rows = outlook.rows_in(window)
    in_a_page = len(inside) * max(1.0, outlook.page / rows) if rows else len(inside)
    return _fit(inside, outlook) and in_a_page <= max(1, len(_fitting(inside)))


def _fit(messages: Waiting, outlook: Outlook) -> bool:
    """Whether one request can ask for all of them by id."""
    listable = outlook.by_id and not any("," in name for name, _ in messages)
    return listable and len(_fitting(messages)) == len(messages) < outlook.limit


def page_full_from_below(span: Span, outlook: Outlook) -> Span:
    """The oldest part of `span` that one request should hold."""
    rows = outlook.rows_in(span)
    if rows <= outlook.page:
        return span
    length_ms = max(1, int(span.length_ms * outlook.page / rows))
    return Span(span.since_ms, span.since_ms + length_ms)


def _looked_after_ids(outlook: Outlook, rungs: list[Rung], ids: set[str]) -> dict[int, int]:
    """How far each rung is done once the messages of `ids` have been looked at."""
    done = dict(outlook.progress.looked_ms)
    for rung in rungs:
        left = [known.sent_ms for name, known in rung.waiting if name not in ids]
        seen_whole = len(rung.waiting) < outlook.limit
        done[rung.age_ms] = min(
            left, default=rung.due.until_ms if seen_whole else rung.waiting[-1][1].sent_ms
        )
    return done


def _fitting(waiting: Waiting) -> Waiting:
    """As many of the first of them as fit into one request; one at least."""
    length = 0
    for count, (message_id, _) in enumerate(waiting):
        # Nobody says whether a comma counts as it is or as it is sent (%2C).
        length += len(message_id.encode()) + 3
        if length > MAX_LIST_LENGTH:
            return waiting[: max(1, count)]
    return waiting
