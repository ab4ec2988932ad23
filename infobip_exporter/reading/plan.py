"""What to ask next. Requests are the scarce thing: each is put where it brings the most.

Everything here is a rule over values; the feed carries the tasks out and charges their requests to their class.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from infobip_exporter.api.channels import LOG_KEEPS_MS
from infobip_exporter.api.question import MAX_LIST_LENGTH
from infobip_exporter.ledger.changes import Remembered
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.reading.spans import Span, SpanSet

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

LADDER_MS = (
    *(round(minutes * MINUTE_MS) for minutes in (0.5, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)),
    *(round(hours * HOUR_MS) for hours in (2.4, 3.9, 6.3, 10, 16, 26, 40)),
)
"""The ages at which a message that is still in flight is looked at again; `Outlook.ladder` adds the last one."""
LAST_LOOK_BEFORE_MS = 3 * MINUTE_MS
"""How long before it leaves the log a message is looked at for the last time; earlier where polls are rare."""

PATIENCE = 0.25
"""How long a look may wait for company, as a part of the age it is due at: full requests instead of many."""

NOTHING = Span(0, 0)
ALWAYS = Span(0, 1 << 62)

TIGHT = 0.7
"""The part of the budget that reading everything twice may take before reads are put off for as long as it helps."""
LONGEST_WAIT_MS = 5 * MINUTE_MS
LONGEST_WAIT_TIGHT_MS = 36 * HOUR_MS

PATIENT_POLLS = 4
"""For how many polls what is due to be read waits for more of it."""
PAGES_IN_A_CROWD = 4
"""How many pages are read in one go where there is a choice."""

ROOM = 0.9
"""How full a page may be expected to be for a span to count as read by one request."""


class Why(Enum):
    """The classes of work that share the budget."""

    FRESH = "fresh"
    RESCUE = "rescue"
    AGAIN = "again"
    LOOK = "look"
    BACKLOG = "backlog"


SHARES = {Why.FRESH: 4, Why.RESCUE: 4, Why.AGAIN: 3, Why.LOOK: 2, Why.BACKLOG: 2}
"""Each class's share of the requests, where there is more to do than the budget allows; the first goes first."""


@dataclass(frozen=True, slots=True)
class ReadSpan:
    """Read this span of sent time."""

    why: Why
    span: Span
    looked_ms: Mapping[int, int] | None = None
    """The rungs of the ladder that are done with it."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up these messages by id, in one request."""

    messages: Mapping[str, Remembered]
    looked_ms: Mapping[int, int]
    why: Why = Why.LOOK


Task = ReadSpan | LookUp


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the planner goes by.

    `now_ms` is the API's now at the earliest, `edge_ms` the sent time before which records may have left the log.
    `rows_in` estimates the records in a span, `since_with` where the span that ends there with so many records begins;
    `in_flight` gives messages in flight sent in a span, oldest first, at most so many. `spent` are the requests of
    this poll by class. `settled_after_ms` is the age at which nearly all messages have settled.
    """

    progress: Progress
    now_ms: int
    edge_ms: int
    late_ms: int
    interval_ms: int
    limit: int
    requests_per_minute: float
    rows_per_ms: float
    rows_in: Callable[[Span], float]
    since_with: Callable[[int, float], int]
    in_flight: Callable[[Span, int], list[tuple[str, Remembered]]]
    spent: Mapping[Why, float]
    fresh_done: bool
    settled_after_ms: int = 0
    unsettled_share: Callable[[int], float] = lambda _age_ms: 0.0
    """How many messages have not settled at an age, of those that do."""
    by_id: bool = True
    widest_look_ms: int = LOG_KEEPS_MS
    """How wide a span a look may read at once."""
    stubborn: SpanSet = SpanSet()
    """Time that the API has failed to show, to be let alone for now."""

    @property
    def unread(self) -> SpanSet:
        """The unread time that may be asked for."""
        return self.progress.unread.without(self.stubborn)

    @property
    def open(self) -> SpanSet:
        """The open time that may be asked for."""
        return self.progress.open.without(self.stubborn)

    @property
    def page(self) -> float:
        return ROOM * self.limit

    @property
    def ladder(self) -> tuple[int, ...]:
        """The ages at which a message in flight is looked at, in milliseconds: ever farther apart, and at the end."""
        before_ms = max(LAST_LOOK_BEFORE_MS, 3 * self.interval_ms)
        return (*LADDER_MS, LOG_KEEPS_MS - before_ms)

    @property
    def worthwhile(self) -> frozenset[int]:
        """The rungs that looks are made for: at which half of what was in flight at the one before should have settled.

        The others are served where a look costs nothing. The last two are always made.
        """
        rungs = set(self.ladder[-2:])
        in_flight = 1.0
        for age_ms in self.ladder:
            share = self.unsettled_share(age_ms)
            if share <= in_flight / 2:
                rungs.add(age_ms)
                in_flight = share
        return frozenset(rungs)

    @property
    def late_before_ms(self) -> int:
        """Sent time before which no record turns up any more."""
        return self.now_ms - self.late_ms

    @property
    def crowded(self) -> bool:
        """Whether a page does not hold what is sent between two polls: then each record is read once, when it is ripe.

        Below that, a fresh read costs the one request that a poll makes anyway.
        """
        return self.rows_per_ms * self.interval_ms > self.page

    @property
    def tight(self) -> bool:
        """Whether reading everything twice would take more than its part of the budget."""
        pages_per_minute = self.rows_per_ms * MINUTE_MS / self.limit
        return 2 * pages_per_minute > TIGHT * self.requests_per_minute

    @property
    def ripe_before_ms(self) -> int:
        """The sent time before which records are read in a crowd: nearly all have settled and none turns up any more.

        The longer a read is put off, the fewer messages are in flight in it, each of which takes looks. How long it may
        be put off for that depends on whether the budget leaves a choice.
        """
        longest_ms = LONGEST_WAIT_TIGHT_MS if self.tight else LONGEST_WAIT_MS
        return self.now_ms - max(self.late_ms, min(self.settled_after_ms, longest_ms))


def choose(outlook: Outlook, without: Collection[Why] = ()) -> Task | None:
    """The next task, or None when nothing is due: of the classes with work, the one with most of its share left.

    Classes in `without` are left out.
    """
    tasks = (fresh(outlook), rescue(outlook), again(outlook), look(outlook), backlog(outlook))
    due = [task for task in tasks if task and task.why not in without]
    return min(due, key=lambda task: outlook.spent.get(task.why, 0) / SHARES[task.why], default=None)


def fresh(outlook: Outlook) -> Task | None:
    """The newest time, once a poll. Where a page has room for it, all that is open with it, and due looks for free.

    Where it has not, what has to be read again may take the poll's one request: the fresh read waits for the next.
    """
    progress = outlook.progress
    if outlook.fresh_done or progress.frontier_ms is None:
        return None
    top = _top(progress)
    since_ms = min(closed_up_to_ms(outlook), top.since_ms)
    wide = Span(max(since_ms, _shown_from_ms(outlook)), progress.frontier_ms)
    alone = progress.unread.meet(wide).total_ms == top.length_ms
    if alone and outlook.rows_in(wide) <= outlook.page:
        return _with_looks(wide, outlook)
    head = _head(outlook)
    if head.length_ms == 0 or outlook.crowded:
        return None
    can_wait = head.length_ms < 2 * outlook.interval_ms and 2 * outlook.rows_in(head) <= outlook.page
    if can_wait and again(outlook):
        return None
    return ReadSpan(Why.FRESH, head)


def _top(progress: Progress) -> Span:
    """The unread time that ends at the frontier; empty where there is none."""
    frontier_ms = progress.frontier_ms or 0
    if progress.unread and progress.unread.spans[-1].until_ms == frontier_ms:
        return progress.unread.spans[-1]
    return Span(frontier_ms, frontier_ms)


def _head(outlook: Outlook) -> Span:
    """The part of it that is news; what is older is backlog."""
    news_from_ms = outlook.now_ms - max(outlook.late_ms, 2 * outlook.interval_ms)
    top = _top(outlook.progress)
    return Span(max(top.since_ms, min(news_from_ms, top.until_ms)), top.until_ms)


def _with_looks(wide: Span, outlook: Outlook) -> Task | None:
    """`wide`, longer by what the page has room for if messages in flight there are due for a look."""
    room_from_ms = max(outlook.since_with(wide.until_ms, outlook.page), _shown_from_ms(outlook))
    room = Span(room_from_ms, wide.since_ms)
    unread = outlook.unread.below(wide.since_ms)
    if unread:
        room = room.meet(Span(unread.spans[-1].until_ms, wide.since_ms))
    firsts = [waiting[0][1].sent_ms for _, _, waiting in _due(outlook, room, most=1)]
    span = Span(min(firsts, default=wide.since_ms), wide.until_ms)
    if span.length_ms == 0:
        return None
    return ReadSpan(Why.FRESH, span, looked_after(outlook, span))


def _ripe(outlook: Outlook) -> Span:
    """The sent time that is ripe to be read in a crowd, as far as it is not backlog."""
    ripe_before_ms = outlook.ripe_before_ms
    return Span(ripe_before_ms - max(outlook.late_ms, 10 * outlook.interval_ms), ripe_before_ms)


def again(outlook: Outlook) -> Task | None:
    """What was read while records could still turn up, once they can't, and in a crowd what is ripe; full pages."""
    late_before_ms = outlook.late_before_ms
    tasks = [_when_worth_it(outlook.open.below(late_before_ms), late_before_ms, 1, outlook)]
    if outlook.crowded:
        ripe = _ripe(outlook)
        tasks.append(_when_worth_it(outlook.unread.meet(ripe), ripe.until_ms, PAGES_IN_A_CROWD, outlook))
    return next((task for task in tasks if task), None)


def _when_worth_it(due: SpanSet, before_ms: int, pages: int, outlook: Outlook) -> Task | None:
    """The oldest of what is due, when it fills so many pages or has waited for long; it became due at `before_ms`.

    A walk ends in a page that is not full: the more pages it has, the less that costs.
    """
    if not due:
        return None
    oldest = due.spans[0]
    if (
        outlook.rows_in(oldest) < pages * outlook.page
        and before_ms - oldest.since_ms < PATIENT_POLLS * outlook.interval_ms
    ):
        return None
    return ReadSpan(Why.AGAIN, oldest)


def backlog(outlook: Outlook) -> Task | None:
    """Unread time, newest first; but for the newest, whose turn is `fresh`, or in a crowd when it is ripe."""
    newest = _ripe(outlook) if outlook.crowded else _head(outlook)
    unread = outlook.unread.below(newest.since_ms)
    return ReadSpan(Why.BACKLOG, unread.spans[-1]) if unread else None


def rescue(outlook: Outlook) -> Task | None:
    """Time that would leave the log before its turn comes, oldest first."""
    waiting = SpanSet((*outlook.unread, *outlook.open.below(outlook.late_before_ms)))
    if not waiting:
        return None
    rows = sum(outlook.rows_in(span) for span in waiting)
    minutes = rows / outlook.limit / outlook.requests_per_minute
    danger_ms = outlook.edge_ms + round(2 * minutes * MINUTE_MS) + 10 * MINUTE_MS
    endangered = waiting.below(danger_ms)
    return ReadSpan(Why.RESCUE, _page_full_from_below(endangered.spans[0], outlook)) if endangered else None


def _page_full_from_below(span: Span, outlook: Outlook) -> Span:
    """The oldest part of `span` that one request should hold."""
    rows = outlook.rows_in(span)
    if rows <= outlook.page:
        return span
    length_ms = max(1, int(span.length_ms * outlook.page / rows))
    return Span(span.since_ms, span.since_ms + length_ms)


def closed_up_to_ms(outlook: Outlook) -> int:
    """The sent time before which nothing is open any more; what is unread there does not matter to a look."""
    return outlook.open.spans[0].since_ms if outlook.open else (outlook.progress.frontier_ms or 0)


def _shown_from_ms(outlook: Outlook) -> int:
    """The sent time from which on the API shows everything."""
    return outlook.stubborn.spans[-1].until_ms if outlook.stubborn else 0


Rung = tuple[int, Span, list[tuple[str, Remembered]]]
"""The age of a rung of the ladder, the sent time whose look is due, and the messages in flight there."""


def _due(outlook: Outlook, within: Span, most: int) -> list[Rung]:
    """The rungs with messages waiting for their look in `within`, oldest first; `most` messages of each."""
    rungs = []
    closed_ms = closed_up_to_ms(outlook)
    for age_ms in reversed(outlook.ladder):
        looked_ms = max(outlook.progress.looked_ms.get(age_ms, 0), outlook.edge_ms)
        due = Span(looked_ms, min(outlook.now_ms - age_ms, closed_ms))
        inside = due.meet(within)
        waiting = outlook.in_flight(inside, most) if inside.length_ms else []
        # What is open, if stubborn, may still be read again: a look there would make it new.
        waiting = [message for message in waiting if message[1].sent_ms not in outlook.stubborn]
        if waiting:
            rungs.append((age_ms, due, waiting))
    return rungs


def looked_after(outlook: Outlook, looked: Span = NOTHING) -> dict[int, int]:
    """How far each rung is done once all in flight in `looked` have been looked at: to the first left waiting."""
    done = {}
    for age_ms in outlook.ladder:
        up_to_ms = max(outlook.progress.looked_ms.get(age_ms, 0), outlook.edge_ms)
        due = Span(up_to_ms, max(up_to_ms, outlook.now_ms - age_ms))
        below = Span(due.since_ms, min(due.until_ms, max(due.since_ms, looked.since_ms)))
        above = Span(max(due.since_ms, looked.until_ms), due.until_ms)
        waiting = outlook.in_flight(below, 1) or outlook.in_flight(above, 1)
        done[age_ms] = waiting[0][1].sent_ms if waiting else due.until_ms
    return done


def look(outlook: Outlook) -> Task | None:
    """Messages in flight that are due for a look: by id, or by reading their span, whichever takes fewer requests.

    One that is due waits a while for others, so that requests go out full; then all that are due go along.
    """
    worthwhile = outlook.worthwhile
    rungs = [rung for rung in _due(outlook, ALWAYS, outlook.limit) if rung[0] in worthwhile]
    rungs.sort(key=lambda rung: _urgency(rung, outlook), reverse=True)
    messages = [message for _, _, waiting in rungs for message in waiting]
    taken = _fitting(messages)
    if not messages or (len(taken) == len(messages) and _urgency(rungs[0], outlook) < 1):
        return None
    _, due, waiting = rungs[0]
    since_ms = waiting[0][1].sent_ms
    widest = Span(since_ms, min(due.until_ms, since_ms + outlook.widest_look_ms))
    window = _page_full_from_below(widest, outlook)
    in_window = sum(known.sent_ms < window.until_ms for _, known in waiting)
    many = len(waiting) >= outlook.limit or in_window > len(_fitting(waiting))
    if many or not outlook.by_id or any("," in name for name, _ in taken):
        return ReadSpan(Why.LOOK, window, looked_after(outlook, window))
    return LookUp(dict(taken), _looked_after_ids(outlook, rungs, {name for name, _ in taken}))


def _urgency(rung: Rung, outlook: Outlook) -> float:
    """How long the rung's first message has waited, in terms of its patience."""
    age_ms, _, waiting = rung
    patience_ms = max(outlook.interval_ms, min(PATIENCE * age_ms, (LOG_KEEPS_MS - age_ms) / 3))
    return (outlook.now_ms - age_ms - waiting[0][1].sent_ms) / patience_ms


def _looked_after_ids(outlook: Outlook, rungs: list[Rung], ids: set[str]) -> dict[int, int]:
    """How far each rung is done once the messages of `ids` have been looked at."""
    done = dict(outlook.progress.looked_ms)
    for age_ms, due, waiting in rungs:
        left = [known.sent_ms for name, known in waiting if name not in ids]
        seen_whole = len(waiting) < outlook.limit
        done[age_ms] = min(left, default=due.until_ms if seen_whole else waiting[-1][1].sent_ms)
    return done


def _fitting(waiting: list[tuple[str, Remembered]]) -> list[tuple[str, Remembered]]:
    """As many of the first of them as fit into one request; one at least."""
    length = 0
    for count, (message_id, _) in enumerate(waiting):
        # Nobody says whether a comma counts as it is or as it is sent (%2C).
        length += len(message_id.encode()) + 3
        if length > MAX_LIST_LENGTH:
            return waiting[: max(1, count)]
    return waiting
