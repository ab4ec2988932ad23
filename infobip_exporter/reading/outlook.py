"""What the planner goes by: how far the feed has come, what to expect of the log, and what requests there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infobip_exporter.infobip.channels import LOG_KEEPS_MS
from infobip_exporter.infobip.query import MAX_LIST_LENGTH
from infobip_exporter.ledger.changes import Remembered
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.task import Why

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

LADDER_MS = (
    *(round(minutes * MINUTE_MS) for minutes in (0.5, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)),
    *(round(hours * HOUR_MS) for hours in (2.4, 3.9, 6.3, 10, 16, 26, 40)),
)
"""The ages at which a message that is still in flight is looked at again; `Outlook.ladder` adds the last one."""
LAST_LOOK_BEFORE_MS = 3 * MINUTE_MS
"""How long before it leaves the log a message is looked at for the last time; earlier where polls are rare."""
ALWAYS_MADE = 2
"""How many rungs at the end of the ladder are made whatever is to be expected of them."""

TIGHT = 0.7
"""The part of the budget that reading and looking may be expected to take; reads are put off until it does not."""
LONGEST_WAIT_MS = 5 * MINUTE_MS
"""For how long reads are put off where the budget leaves a choice."""
USUAL_ID_LENGTH = 39
"""What an id takes of a list of them, its comma with it as it is sent: most are UUIDs."""

LITTLE = 0.1
"""What looks may take, as a part of what reading takes, where reads are put off for as long as it helps."""

MOST_PATIENT_INTERVAL_MS = MINUTE_MS
"""Where polls are farther apart than this, nothing waits for the next one."""
LATEST_FRESH = 1.5
"""How much unread time, in poll intervals, may wait for the next poll: the newest time is read in every second one."""

ROOM = 0.9
"""How full a page may be expected to be for a span to count as read by one request."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the planner goes by.

    `now_ms` is the API's now at the earliest, `edge_ms` the sent time before which records may have left the log.
    `rows_in` estimates the records in a span, `since_with` where the span that ends there with so many records begins;
    `in_flight` gives messages in flight sent in a span, oldest first, at most so many. `spent` are the requests of the
    last polls by class, `asked` those of this poll. `settled_after_ms` is the age at which nearly all messages have
    settled, `unsettled_share` how many of those that settle have not at an age.
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
    asked: int = 0
    settled_after_ms: int = 0
    unsettled_share: Callable[[int], float] = lambda _age_ms: 0.0
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
    def late_before_ms(self) -> int:
        """Sent time before which no record turns up any more."""
        return self.now_ms - self.late_ms

    @property
    def closed_up_to_ms(self) -> int:
        """The sent time before which nothing is open any more; what is unread there does not matter to a look."""
        return self.open.spans[0].since_ms if self.open else (self.progress.frontier_ms or 0)

    @property
    def shown_from_ms(self) -> int:
        """The sent time from which on the API shows everything."""
        return self.stubborn.spans[-1].until_ms if self.stubborn else 0

    @property
    def rows_per_poll(self) -> float:
        return self.rows_per_ms * self.interval_ms

    @property
    def crowded(self) -> bool:
        """Whether a page does not hold what is sent between two polls: then each record is read once, when it is ripe.

        Below that, a fresh read costs the one request that a poll makes anyway.
        """
        return self.rows_per_poll > self.page

    @property
    def top(self) -> Span:
        """The unread time that ends at the frontier; empty where there is none."""
        frontier_ms = self.progress.frontier_ms or 0
        unread = self.progress.unread
        if unread and unread.spans[-1].until_ms == frontier_ms:
            return unread.spans[-1]
        return Span(frontier_ms, frontier_ms)

    @property
    def takes_turns(self) -> bool:
        """Whether a poll should make do with one request: what can wait then waits for the next one.

        So it should where nothing but the newest time is unread, a page holds that, and polls are frequent.
        """
        behind = self.progress.unread.total_ms > self.top.length_ms
        return not (behind or self.crowded) and self.interval_ms <= MOST_PATIENT_INTERVAL_MS

    @property
    def fresh_can_wait(self) -> bool:
        """Whether the newest time may be read with the next poll instead, in one page."""
        soon_rows = self.rows_in(self.top) + self.rows_per_poll
        return (
            self.takes_turns
            and self.top.length_ms < LATEST_FRESH * self.interval_ms
            and soon_rows <= self.page
        )

    @property
    def enough(self) -> int:
        """How many times as much as fills a request must be due to be worth one now, beside this poll's one."""
        taken = self.asked or not (self.fresh_done or self.fresh_can_wait)
        return 2 if self.takes_turns and taken else 1

    # Ages

    @property
    def ladder(self) -> tuple[int, ...]:
        """The ages at which a message in flight is looked at, in milliseconds: ever farther apart, and at the end."""
        return (*LADDER_MS, LOG_KEEPS_MS - self._last_look_before_ms)

    @property
    def _last_look_before_ms(self) -> int:
        return max(LAST_LOOK_BEFORE_MS, 3 * self.interval_ms)

    def due_before_ms(self, age_ms: int) -> int:
        """The sent time before which messages are due for the look at this age: the last one by the API's now at the
        latest, for it must come before they leave.
        """
        due_before_ms = self.now_ms - age_ms
        return (
            max(due_before_ms, self.edge_ms + self._last_look_before_ms)
            if age_ms == self.ladder[-1]
            else due_before_ms
        )

    @property
    def gone_before_ms(self) -> int:
        """The sent time before which records have left the log."""
        return self.now_ms - LOG_KEEPS_MS

    def worthwhile(self, read_at_ms: int = 0) -> tuple[int, ...]:
        """The rungs that looks are made for, of messages first read at an age: at which half of what was in flight
        at the one before should have settled.

        The others are served where a look costs nothing.
        """
        ladder = self.ladder
        share = self.unsettled_share(read_at_ms) if read_at_ms else 1.0
        rungs = []
        for age_ms in ladder[:-ALWAYS_MADE]:
            left = self.unsettled_share(age_ms)
            if age_ms > read_at_ms and left <= share / 2:
                rungs.append(age_ms)
                share = left
        return (*rungs, *ladder[-ALWAYS_MADE:])

    def looks_take(self, read_at_ms: int) -> float:
        """What looks at messages first read at this age should take, in terms of what it takes to read them."""
        share = self.unsettled_share(read_at_ms)
        ids_in_a_request = MAX_LIST_LENGTH / USUAL_ID_LENGTH
        taken = 0.0
        for age_ms in self.worthwhile(read_at_ms):
            taken += min(1.0, share * self.page / ids_in_a_request)
            share = self.unsettled_share(age_ms)
        return taken

    @property
    def ripe_before_ms(self) -> int:
        """The sent time before which records are read in a crowd: none turns up any more and nearly all have settled.

        The longer a read is put off, the fewer messages are in flight in it, each of which takes looks. For how long
        depends on what the budget leaves: minutes at most where it is enough for the looks, else until they are few.
        """
        at_least_ms = max(self.late_ms, min(self.settled_after_ms, LONGEST_WAIT_MS))
        pages_per_minute = self.rows_per_ms * MINUTE_MS / self.limit
        affordable = TIGHT * self.requests_per_minute / pages_per_minute - 1 if pages_per_minute else 0.0
        least, least_ms = self.looks_take(at_least_ms), at_least_ms
        if least <= affordable:
            return self.now_ms - at_least_ms
        for age_ms in self.ladder[:-ALWAYS_MADE]:
            if least <= LITTLE:
                break
            taken = self.looks_take(age_ms)
            if age_ms > at_least_ms and taken < least:
                least, least_ms = taken, age_ms
        return self.now_ms - least_ms
