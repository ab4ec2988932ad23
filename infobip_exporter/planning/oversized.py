"""Reading an oversized millisecond, one that fills a page: by cursor, else split by what the API can filter.

Whether a split has shown everything can't be asked of the API. `_split` says what counts as proof; without it the
millisecond is not whole, and what was seen is counted.
"""

from collections.abc import Generator, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from infobip_exporter.errors import ExporterError
from infobip_exporter.infobip.query import STATUS_GROUPS, Query
from infobip_exporter.model.record import Kind, Page, Record, RejectedRow
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.range_read import is_full, may_be_capped

MOST_QUERIES = 500
"""After this many the millisecond is given up: no single one may take the budget of a feed for good."""

TELLING = 500
"""A page that shows so many rows of a millisecond shows each value that matters: one of 1 % is missing in 1 of 150."""

Seen = str | bytes
"""What tells a row that was seen: the id of a message, or the fingerprint of a row that can't be counted."""


class QueryRefused(ExporterError):
    """The API won't answer this very query (thrown into a read); another one may do."""


@dataclass(slots=True)
class KnownValues:
    """Values of the filters that were seen in records: what an oversized millisecond can be split by."""

    most: int = 500
    entity_ids: dict[str, None] = field(default_factory=dict)
    application_ids: dict[str, None] = field(default_factory=dict)
    senders: dict[str, None] = field(default_factory=dict)

    def see(self, kinds: Sequence[Kind], senders: Sequence[str]) -> None:
        for known, values in (
            (self.entity_ids, [kind.entity_id for kind in kinds]),
            (self.application_ids, [kind.application_id for kind in kinds]),
            (self.senders, senders),
        ):
            for value in values:
                if value:
                    known.pop(value, None)
                    known[value] = None
            while len(known) > self.most:
                del known[next(iter(known))]


@dataclass(frozen=True, slots=True)
class Millisecond:
    """What was seen of an oversized millisecond; `whole` is whether that is proven to be all of it."""

    range: TimeRange
    records: Sequence[Record]
    rejected: Sequence[RejectedRow]
    whole: bool


Steps = Generator[Query, Page, bool]
"""Yields a query and is sent its page, or has QueryRefused thrown in; ends with whether everything has been shown."""


def read_millisecond(
    wanted: TimeRange, first: Page, values: KnownValues, limit: int
) -> Generator[Query, Page, Millisecond]:
    """Read the single millisecond `wanted`, of which `first` was a full page or one that may be capped."""
    read = _Read(wanted, values, limit)
    seen = read.take(first)
    if not is_full(first, limit):
        read.first = len(seen)
    whole = (yield from read.alone(first)) or (yield from read.by_cursor()) or (yield from read.by_filter())
    return Millisecond(wanted, list(read.records.values()), tuple(read.rejected), whole)


class _Read:
    """The records of the millisecond that were seen so far: any order, any overlap of answers is right."""

    def __init__(self, wanted: TimeRange, values: KnownValues, limit: int) -> None:
        self.query = Query(*wanted, limit=limit)
        self.range = wanted
        self.values = values
        self.limit = limit
        self.first = -1
        """How many rows a first page had that only may be capped."""
        self.records: dict[str, Record] = {}
        self.rejected: list[RejectedRow] = []
        self.seen: set[Seen] = set()
        self.queries = 0
        self._most_rows = 0
        self._since_included = False
        self._until_included = False

    def take(self, page: Page) -> set[Seen]:
        """Keep what the page shows of the millisecond, and say what that is."""
        self._most_rows = max(self._most_rows, page.rows)
        inside = [record for record in page.records if self.range.holds(record.sent_ms)]
        for record in inside:
            known = self.records.get(record.message_id)
            if known is None or (record.kind.final and not known.kind.final):
                self.records[record.message_id] = record
        self.rejected.extend(page.rejected)
        self.values.see([r.kind for r in inside], [r.sender for r in inside])
        seen: set[Seen] = {record.message_id for record in inside}
        seen.update(row.fingerprint for row in page.rejected)
        self.seen |= seen
        return seen

    def alone(self, first: Page) -> Steps:
        """Ask again without the milliseconds beside this one, if `first` shows that the API includes them."""
        if not self._tighten(first):
            return False
        before = set(self.seen)
        page = yield from self._ask(self.query)
        return before <= self.take(page) and not self._holds_back(page)

    def by_cursor(self) -> Steps:
        """Page through with a cursor. Believed if it ends without a next cursor, in a page with room left, and has
        shown all that was seen otherwise.
        """
        before = set(self.seen)
        seen: set[Seen] = set()
        cursors = {""}
        cursor: str | None = ""
        while cursor is not None:
            try:
                self.queries += 1
                page = yield replace(self._tight(self.query), cursor=cursor)
            except QueryRefused:
                return False
            if not page.cursor_offered:
                return False
            seen |= self.take(page)
            cursor = page.next_cursor
            if cursor in cursors or self.queries >= MOST_QUERIES:
                return False
            if cursor is not None:
                cursors.add(cursor)
        return 0 < page.rows < self.limit and before <= seen

    def by_filter(self) -> Steps:
        """Split by status group, and what is still full by entity, application and sender."""
        dimensions: tuple[tuple[str, Iterable[str]], ...] = (
            ("general_status", STATUS_GROUPS),
            ("entity_id", tuple(self.values.entity_ids)),
            ("application_id", tuple(self.values.application_ids)),
            ("sender", tuple(self.values.senders)),
        )
        whole, _shown = yield from self._split(self.query, self.seen, dimensions)
        return whole

    def _split(
        self, query: Query, to_show: AbstractSet[Seen], dimensions: tuple[tuple[str, Iterable[str]], ...]
    ) -> Generator[Query, Page, tuple[bool, set[Seen]]]:
        """Ask `query` in parts. Returns whether that has shown all there is, and what it has shown.

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
                if self.queries >= MOST_QUERIES:
                    return False, all_shown | shown
                part = replace(query, **{dimension: value})  # type: ignore[arg-type]
                try:
                    page = yield from self._ask(part)
                except QueryRefused:
                    whole = False
                    continue
                seen = self.take(page)
                shown |= seen
                if self._holds_back(page):
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

    def _holds_back(self, page: Page) -> bool:
        """Whether there may be more than the page shows: an answer that has been exceeded by another is not capped."""
        return is_full(page, self.limit) or (may_be_capped(page, self.limit) and page.rows >= self._most_rows)

    def _ask(self, query: Query) -> Generator[Query, Page, Page]:
        while True:
            self.queries += 1
            page = yield self._tight(query)
            if not (self._holds_back(page) and self._tighten(page)):
                return page

    def _tight(self, query: Query) -> Query:
        return replace(query, tight_since=self._since_included, tight_until=self._until_included)

    def _tighten(self, page: Page) -> bool:
        """Learn from records beside the millisecond that the API includes the bounds. True if that is new."""
        before = (self._since_included, self._until_included)
        sent_ms = page.records.sent_ms
        self._since_included |= self.range.since_ms - 1 in sent_ms
        self._until_included |= self.range.until_ms in sent_ms
        return before != (self._since_included, self._until_included)
