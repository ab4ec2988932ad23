"""Reading one millisecond that holds more records than a page: by cursor, else split by what the API can filter.

Whether a split has shown everything can't be asked of the API. `_split` says what counts as proof; without it the
millisecond is yielded as not whole, with what was seen.
"""

from collections.abc import Generator, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace

from infobip_exporter.infobip.query import STATUS_GROUPS, Query
from infobip_exporter.model.record import Record, RejectedRow
from infobip_exporter.reading.dialogue import Dialogue, Learnt, QueryRefused, Read, Reply, ask
from infobip_exporter.reading.spans import Span

MOST_QUESTIONS = 500
"""After this many the millisecond is given up: no single one may eat the budget of a feed for good."""

TELLING = 500
"""A page that shows so many rows of a millisecond shows each value that matters: one of 1 % is missing in 1 of 150."""

Seen = str | bytes
"""What tells a row that was seen: the id of a message, or the fingerprint of a row that can't be counted."""

Dimensions = tuple[tuple[str, Iterable[str]], ...]
"""The filters to split by, and the values to try of each."""

Step = Generator[Query | Read, Reply | None, bool]
"""Part of a dialogue that ends with whether it has shown everything it was to show."""


def read_millisecond(span: Span, first: Reply, learnt: Learnt, limit: int) -> Dialogue:
    """Read the single millisecond `span`, of which `first` was a full page. Yields one Read of it."""
    crowd = _Crowd(span, learnt, limit)
    seen = crowd.take(first)
    if first.page.rows < limit:
        crowd.first = len(seen)
    whole = (
        (yield from crowd.alone(first)) or (yield from crowd.by_cursor()) or (yield from crowd.by_filter())
    )
    yield Read(span, list(crowd.records.values()), first.asked_ms, tuple(crowd.rejected), whole)


class _Crowd:
    """The records of the millisecond that were seen so far, by id: any order, any overlap of answers is right."""

    def __init__(self, span: Span, learnt: Learnt, limit: int) -> None:
        self.question = Query(*span, limit=limit)
        self.span = span
        self.learnt = learnt
        self.limit = limit
        self.first = -1
        """How many rows a first page had that only smelt of a cap."""
        self.records: dict[str, Record] = {}
        self.rejected: list[RejectedRow] = []
        self.seen: set[Seen] = set()
        self.questions = 0
        self._since_included = False
        self._until_included = False

    def take(self, reply: Reply) -> set[Seen]:
        """Keep what the reply shows of the millisecond, and say what that is."""
        inside = reply.inside(self.span)
        for record in inside:
            self.records.setdefault(record.message_id, record)
        self.rejected.extend(reply.page.rejected)
        self.learnt.values.see([r.kind for r in inside], [r.sender for r in inside])
        seen: set[Seen] = {record.message_id for record in inside}
        seen.update(row.fingerprint for row in reply.page.rejected)
        self.seen |= seen
        return seen

    def alone(self, first: Reply) -> Step:
        """Ask again without the milliseconds beside this one, if `first` shows that the API includes them."""
        if not self._tighten(first):
            return False
        reply = yield from self._ask(self.question)
        self.take(reply)
        return not self.learnt.may_hold_back(reply, self.limit)

    def by_cursor(self) -> Step:
        """Page through with a cursor. Not believed unless it ends in a page with room left and saw all that was seen."""
        if self.learnt.cursor is False:
            return False
        before = set(self.seen)
        seen: set[Seen] = set()
        cursors = {""}
        cursor: str | None = ""
        while cursor is not None:
            try:
                self.questions += 1
                reply = yield from ask(replace(self._tight(self.question), cursor=cursor))
            except QueryRefused:
                self.learnt.cursor = False if cursor == "" else self.learnt.cursor
                return False
            if cursor == "":
                self.learnt.cursor = reply.page.cursor_offered
            if not reply.page.cursor_offered:
                return False
            seen |= self.take(reply)
            cursor = reply.page.next_cursor
            if cursor in cursors or self.questions >= MOST_QUESTIONS:
                return False
            if cursor is not None:
                cursors.add(cursor)
        return 0 < reply.page.rows < self.limit and before <= seen

    def by_filter(self) -> Step:
        """Split by status group, and what is still full by entity, application and sender."""
        values = self.learnt.values
        dimensions: Dimensions = (
            ("general_status", STATUS_GROUPS),
            ("entity_id", tuple(values.entity_ids)),
            ("application_id", tuple(values.application_ids)),
            ("sender", tuple(values.senders)),
        )
        whole, _shown = yield from self._split(self.question, self.seen, dimensions)
        return whole

    def _split(
        self, question: Query, to_show: AbstractSet[Seen], dimensions: Dimensions
    ) -> Generator[Query | Read, Reply | None, tuple[bool, set[Seen]]]:
        """Ask `question` in parts. Returns whether that has shown all there is, and what it has shown.

        A dimension must show, in parts that are whole, all that was seen otherwise. A value that nobody has seen yet,
        be it an entity or a new status group, may be missing from it: so it takes two dimensions that agree, or so
        many rows seen otherwise that a missing value would hardly hide from them.
        """
        all_shown: set[Seen] = set()
        before: set[Seen] | None = None
        for number, (dimension, values) in enumerate(dimensions):
            shown: set[Seen] = set()
            whole = True
            for value in values:
                if self.questions >= MOST_QUESTIONS:
                    return False, all_shown | shown
                part = replace(question, **{dimension: value})  # type: ignore[arg-type]
                try:
                    reply = yield from self._ask(part)
                except QueryRefused:
                    whole = False
                    continue
                seen = self.take(reply)
                shown |= seen
                if self.learnt.may_hold_back(reply, self.limit):
                    part_whole, part_shown = yield from self._split(part, seen, dimensions[number + 1 :])
                    whole &= part_whole
                    shown |= part_shown
            all_shown |= shown
            if whole and to_show <= shown and all_shown <= shown:
                # Where nothing but the first page has turned up, its number of rows was no cap but chance.
                nothing_more = len(self.seen) == self.first
                if shown == before or len(to_show) >= TELLING or nothing_more:
                    return True, all_shown
                before = shown
        return False, all_shown

    def _ask(self, question: Query) -> Generator[Query | Read, Reply | None, Reply]:
        while True:
            self.questions += 1
            reply = yield from ask(self._tight(question))
            if not (self.learnt.may_hold_back(reply, self.limit) and self._tighten(reply)):
                return reply

    def _tight(self, question: Query) -> Query:
        return replace(question, tight_since=self._since_included, tight_until=self._until_included)

    def _tighten(self, reply: Reply) -> bool:
        """Learn from records beside the millisecond that the API includes the bounds. True if that is new."""
        before = (self._since_included, self._until_included)
        moments = {record.sent_ms for record in reply.page.records}
        self._since_included |= self.span.since_ms - 1 in moments
        self._until_included |= self.span.until_ms in moments
        return before != (self._since_included, self._until_included)
