"""What to ask next. Requests are the scarce thing: each is put where it brings the most.

Everything here is a rule over values; the feed carries the tasks out and charges their requests to their class.
"""

from collections.abc import Collection

from infobip_exporter.reading.looks import due, look, looked_after, page_full_from_below
from infobip_exporter.reading.outlook import MINUTE_MS, Outlook
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.task import ReadSpan, Task, Why

SHARES = {Why.FRESH: 4, Why.RESCUE: 4, Why.AGAIN: 3, Why.LOOK: 2, Why.BACKLOG: 2}
"""Each class's share of the requests, where there is more to do than the budget allows; the first goes first."""

PATIENT_POLLS = 4
"""For how many polls what is due to be read waits for more of it."""
PAGES_IN_A_CROWD = 4
"""How many pages are read in one go where there is a choice."""


def choose(outlook: Outlook, without: Collection[Why] = ()) -> Task | None:
    """The next task, or None when nothing is due: of the classes with work, the one with most of its share left.

    Classes in `without` are left out.
    """
    tasks = (fresh(outlook), rescue(outlook), again(outlook), look(outlook), backlog(outlook))
    ready = [task for task in tasks if task and task.why not in without]
    return min(ready, key=lambda task: outlook.spent.get(task.why, 0) / SHARES[task.why], default=None)


def fresh(outlook: Outlook) -> Task | None:
    """The newest time, once a poll. Where a page has room for it, all that is open with it, and due looks for free.

    It takes turns with other work: where it can wait, what is due may have the poll's one request.
    """
    progress = outlook.progress
    if outlook.fresh_done or progress.frontier_ms is None:
        return None
    top = outlook.top
    since_ms = min(outlook.closed_up_to_ms, top.since_ms)
    wide = Span(max(since_ms, outlook.shown_from_ms), progress.frontier_ms)
    alone = progress.unread.meet(wide).total_ms == top.length_ms
    task: Task | None
    if alone and outlook.rows_in(wide) <= outlook.page:
        task = _with_looks(wide, outlook)
    else:
        head = _head(outlook)
        if head.length_ms == 0 or outlook.crowded:
            return None
        span = _longer(head, outlook) if head == top else head
        task = ReadSpan(Why.FRESH, span, looked_after(outlook, span))
    makes_way = outlook.fresh_can_wait and (outlook.asked or again(outlook) or look(outlook))
    return None if makes_way else task


def _head(outlook: Outlook) -> Span:
    """The part of the unread time at the frontier that is news; what is older is backlog."""
    news_from_ms = outlook.now_ms - max(outlook.late_ms, 2 * outlook.interval_ms)
    top = outlook.top
    return Span(max(top.since_ms, min(news_from_ms, top.until_ms)), top.until_ms)


def _longer(head: Span, outlook: Outlook) -> Span:
    """`head`, longer by what the page has room for: what settles soon after sending is seen to by the way."""
    below = outlook.unread.below(head.since_ms)
    since_ms = max(
        outlook.since_with(head.until_ms, outlook.page),
        outlook.shown_from_ms,
        outlook.closed_up_to_ms,
        below.spans[-1].until_ms if below else 0,
    )
    return Span(min(head.since_ms, since_ms), head.until_ms)


def _with_looks(wide: Span, outlook: Outlook) -> Task | None:
    """`wide`, longer by what the page has room for if messages in flight there are due for a look."""
    room_from_ms = max(outlook.since_with(wide.until_ms, outlook.page), outlook.shown_from_ms)
    room = Span(room_from_ms, wide.since_ms)
    unread = outlook.unread.below(wide.since_ms)
    if unread:
        room = room.meet(Span(unread.spans[-1].until_ms, wide.since_ms))
    firsts = [rung.first_ms for rung in due(outlook, outlook.ladder, room)]
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
    task = _when_worth_it(outlook.open.below(late_before_ms), late_before_ms, outlook.enough, outlook)
    if task is None and outlook.crowded:
        ripe = _ripe(outlook)
        task = _when_worth_it(outlook.unread.meet(ripe), ripe.until_ms, PAGES_IN_A_CROWD, outlook)
    return task


def _when_worth_it(waiting: SpanSet, before_ms: int, pages: int, outlook: Outlook) -> Task | None:
    """The oldest of what is due, when it fills so many pages or has waited for long; it became due at `before_ms`.

    A walk ends in a page that is not full: in a crowd, the more pages it has, the less that costs. Else it has one,
    which holds all that is due up to where it is full.
    """
    if not waiting:
        return None
    oldest = waiting.spans[0]
    patience_ms = PATIENT_POLLS * outlook.enough * outlook.interval_ms
    if outlook.rows_in(oldest) < pages * outlook.page and before_ms - oldest.since_ms < patience_ms:
        return None
    all_due = Span(oldest.since_ms, waiting.spans[-1].until_ms)
    span = oldest if outlook.crowded else page_full_from_below(all_due, outlook)
    return ReadSpan(Why.AGAIN, span, looked_after(outlook, span))


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
    return ReadSpan(Why.RESCUE, page_full_from_below(endangered.spans[0], outlook)) if endangered else None
