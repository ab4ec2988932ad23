"""What passes between a walk and the one who puts its questions."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from infobip_exporter.errors import ExporterError
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Kind, Page, Record, RejectedRow
from infobip_exporter.reading.spans import Span

COMMON_CAP = 50
"""A server that caps answers below the limit asked for does so at a round figure (the API's own default is 50)."""


class Takes(StrEnum):
    """Which end of a range a full page was seen to hold. Nobody has written it down, so it is found out."""

    UNKNOWN = "unknown"
    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Reply:
    """A page, and the API's time when it was asked for, in milliseconds: not later than it really was."""

    page: Page
    asked_ms: int

    def inside(self, span: Span) -> list[Record]:
        """The records sent in `span`: the bounds are asked wider than the span, and servers make mistakes."""
        since_ms, until_ms = span
        return [record for record in self.page.records if since_ms <= record.sent_ms < until_ms]


@dataclass(frozen=True, slots=True)
class Read:
    """`span` has been read: `records` are all its records that were in the log at `asked_ms`.

    `whole` is False for a millisecond that holds more records than the API lets anybody see; `records` are then those
    that were seen.
    """

    span: Span
    records: Sequence[Record]
    asked_ms: int
    rejected: Sequence[RejectedRow] = ()
    whole: bool = True


class QueryRefused(ExporterError):
    """The API won't answer this very question (thrown into a walk); another one may do."""


Dialogue = Generator[Query | Read, Reply | None, None]
"""Yields a Query and is sent the Reply, or yields a Read and is sent None."""


@dataclass(slots=True)
class KnownValues:
    """Values of the filters that were seen in records: what a crowded millisecond can be split by."""

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


@dataclass(slots=True)
class Learnt:
    """What a feed has found out about the API. `takes` is kept in the ledger, the rest while the process runs."""

    takes: Takes = Takes.UNKNOWN
    cursor: bool | None = None
    """Whether answers offer a cursor; None until one was asked for."""
    most_rows: int = 0
    """The most rows that any answer had."""
    capped_at: int = 0
    """The number of rows that the API seems to give at the most, where that is fewer than asked for."""
    empty_looks: int = 0
    """How many questions for message ids in a row have found none of them, or mostly others."""
    by_id: bool = True
    """Whether the API answers questions for message ids."""
    values: KnownValues = field(default_factory=KnownValues)

    def may_hold_back(self, reply: Reply, limit: int) -> bool:
        """Whether there may be more than the reply shows.

        That is so when it has as many rows as were asked for; and when no answer ever had more than it has and their
        number smells of a cap that the API keeps without saying so.
        """
        rows = reply.page.rows
        no_less_than_ever = rows >= self.most_rows
        self.most_rows = max(self.most_rows, rows)
        return rows >= limit or (no_less_than_ever and rows > 0 and rows % COMMON_CAP == 0)


def ask(question: Query) -> Generator[Query | Read, Reply | None, Reply]:
    reply = yield question
    if reply is None:
        raise TypeError("a question is answered with a reply")
    return reply
