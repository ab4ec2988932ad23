"""Reading a span exactly: which questions to put, and what each answer proves to have been read.

A walk holds nothing that matters: what it has yielded as `Read` is read, and a walk that is dropped halfway is begun
again with what is left.

Nobody has written down which end of a range a full page holds, nor how the rows of a page are ordered. So a full page
proves nothing by itself: the first one is checked with a question below it and one above it, and what these show
(`Takes`) is held to a witness from then on: each next page must hold a message known to lie at the edge where it
begins. Where a page is in no order, or the witness is missing, the span is halved until its answers are not full.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from infobip_exporter.errors import ExporterError
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Record
from infobip_exporter.reading.dense import read_millisecond
from infobip_exporter.reading.dialogue import Dialogue, Learnt, Read, Reply, Takes, ask
from infobip_exporter.reading.spans import Span

COMFORTABLE = 0.65
"""How full a page is aimed at where a full one proves nothing and has to be asked again in halves."""

DECISIVE = 0.5
"""How many more records, as a part of a page, tell its end: a few may just have turned up late in between."""

WORTH_PARTING = 0.25
"""What part of a span must be old for it to be read by itself: it grows by what time passes while the rest is read."""

LONG_STRETCH = 30
"""How many times the mean distance of records may lie between a page and the end of the range it should hold."""


class BoundsIgnored(ExporterError):
    """Most records of an answer were sent at other times than asked for: nothing can be read this way."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the span still to be read.

    `witness` is the id of a message known to lie at the edge where a full page begins. `reply` is the answer to a
    question for this part, where it was put already.
    """

    span: Span
    witness: str | None = None
    reply: Reply | None = None


def walk(span: Span, learnt: Learnt, limit: int, late_ms: int = 0) -> Dialogue:
    """Read all of `span`, newest part first.

    `limit` is the page size to ask for, in rows; `late_ms` how long after sending a record may turn up.
    """
    parts = [Part(span)]
    rows_per_ms = 0.0  # known only where pages prove nothing: cuts the parts to fit
    while parts:
        part = parts.pop()
        if rows_per_ms and part.reply is None:
            part, rest = _fitting(part, rows_per_ms, limit)
            parts.extend(rest)
        reply = part.reply or (yield from ask(Query(*part.span, limit=limit)))
        if not (yield from _is_full(reply, learnt, limit)):
            inside = reply.inside(part.span)
            yield Read(part.span, inside, reply.asked_ms, reply.page.rejected)
            if rows_per_ms:
                rows_per_ms = max(rows_per_ms / 4, len(inside) / part.span.length_ms)
        elif part.span.length_ms == 1:
            yield from read_millisecond(part.span, reply, learnt, limit)
        else:
            outcome = yield from _full_page(part, reply, learnt, limit, late_ms)
            if outcome.proven is not None:
                yield outcome.proven
            if outcome.halved:
                rows_per_ms = max(1.5 * rows_per_ms, limit / part.span.length_ms)
            parts.extend(outcome.rest)


def _is_full(reply: Reply, learnt: Learnt, limit: int) -> Generator[Query | Read, Reply | None, bool]:
    """Whether the page may hold back records. Where it only smells of it, what the API has at all clears it."""
    if not learnt.may_hold_back(reply, limit):
        return False
    if reply.page.rows in (limit, learnt.capped_at):
        return True
    everything = yield from ask(Query(limit=limit))
    learnt.most_rows = max(learnt.most_rows, everything.page.rows)
    if not learnt.may_hold_back(reply, limit):
        return False
    learnt.capped_at = reply.page.rows
    return True


def _fitting(part: Part, rows_per_ms: float, limit: int) -> tuple[Part, list[Part]]:
    """The newest end of `part` that should fill a page comfortably, and what is left of it."""
    length_ms = max(1, int(COMFORTABLE * limit / rows_per_ms))
    since_ms, until_ms = part.span
    if length_ms >= part.span.length_ms:
        return part, []
    middle_ms = until_ms - length_ms
    return Part(Span(middle_ms, until_ms), part.witness), [Part(Span(since_ms, middle_ms))]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a full page proved, if anything, and the parts that are left; the last one is read next.

    `halved` is whether it was of no use, so that smaller parts should be asked for.
    """

    proven: Read | None
    rest: list[Part]
    halved: bool = False


def _full_page(
    part: Part, reply: Reply, learnt: Learnt, limit: int, late_ms: int
) -> Generator[Query | Read, Reply | None, Outcome]:
    asked = Span(part.span.since_ms - 1, part.span.until_ms + 1)
    records = reply.inside(asked)
    strangers = reply.page.rows - len(records) - len(reply.page.rejected)
    if 2 * strangers > reply.page.rows:
        raise BoundsIgnored("most records of the answer were sent at other times than asked for")
    moments = [record.sent_ms for record in records]
    if strangers or not moments or not _in_order(moments):
        return _halved(part.span)
    if min(moments) == max(moments):
        return _around(part.span, moments[0])
    if learnt.takes is Takes.UNKNOWN:
        too_new = _too_new(part.span, reply.asked_ms - late_ms)
        return too_new or (yield from _find_out(part, reply, records, learnt, limit))
    if part.witness is not None:
        holds_its_end = any(record.message_id == part.witness for record in records)
    else:
        holds_its_end = yield from _reaches_its_end(part.span, moments, learnt, limit)
    if not holds_its_end:
        learnt.takes = Takes.UNKNOWN
        return _halved(part.span)
    return _end_of(part.span, reply, records, learnt.takes)


def _reaches_its_end(
    span: Span, moments: Sequence[int], learnt: Learnt, limit: int
) -> Generator[Query | Read, Reply | None, bool]:
    """Whether the page holds the end that pages were seen to hold. A long stretch without records there is asked for."""
    oldest_ms, newest_ms = min(moments), max(moments)
    stretch = (
        Span(newest_ms + 1, span.until_ms) if learnt.takes is Takes.NEWEST else Span(span.since_ms, oldest_ms)
    )
    if stretch.length_ms <= LONG_STRETCH * (newest_ms - oldest_ms) / len(moments):
        return True
    reply = yield from ask(Query(*stretch, limit=limit))
    return not reply.inside(stretch) and not learnt.may_hold_back(reply, limit)


def _in_order(moments: Sequence[int]) -> bool:
    rising = sorted(moments)
    return list(moments) == rising or list(moments) == rising[::-1]


def _halved(span: Span) -> Outcome:
    middle_ms = (span.since_ms + span.until_ms) // 2
    return Outcome(
        None, [Part(Span(span.since_ms, middle_ms)), Part(Span(middle_ms, span.until_ms))], halved=True
    )


def _around(span: Span, moment_ms: int) -> Outcome:
    """One millisecond fills the page: read it by itself, and what is below and above it."""
    inside_ms = min(max(moment_ms, span.since_ms), span.until_ms - 1)
    cuts = (span.since_ms, inside_ms, inside_ms + 1, span.until_ms)
    parts = [Part(Span(a, b)) for a, b in pairwise(cuts) if a < b]
    return Outcome(None, parts) if len(parts) > 1 else _halved(span)


def _end_of(
    span: Span, reply: Reply, records: Sequence[Record], takes: Takes, rest_reply: Reply | None = None
) -> Outcome:
    """The end of `span` that a full page holds. The millisecond at its inner edge may be cut, so it is asked again."""
    if takes is Takes.NEWEST:
        edge = min(records, key=lambda record: record.sent_ms)
        proven = Span(edge.sent_ms + 1, span.until_ms)
        rest = Span(span.since_ms, edge.sent_ms + 1)
    else:
        edge = max(records, key=lambda record: record.sent_ms)
        proven = Span(span.since_ms, edge.sent_ms)
        rest = Span(edge.sent_ms, span.until_ms)
    proven, rest = proven.meet(span), rest.meet(span)
    if proven.length_ms == 0:
        return _around(span, edge.sent_ms)
    read = Read(proven, reply.inside(proven), reply.asked_ms, reply.page.rejected)
    witness = edge.message_id if edge.sent_ms in rest else None
    return Outcome(read, [Part(rest, witness, rest_reply)] if rest.length_ms else [])


def _too_new(span: Span, whole_before_ms: int) -> Outcome | None:
    """Where records still turn up, they could pass for the other end of the range: nothing is found out there."""
    if span.until_ms <= whole_before_ms:
        return None
    older, newer = Span(span.since_ms, whole_before_ms), Span(whole_before_ms, span.until_ms)
    if older.length_ms < WORTH_PARTING * span.length_ms:
        return _halved(span)
    return Outcome(None, [Part(newer), Part(older)])


def _find_out(
    part: Part, reply: Reply, records: Sequence[Record], learnt: Learnt, limit: int
) -> Generator[Query | Read, Reply | None, Outcome]:
    """Ask below and above a full page in order. More on one side only: the page holds the other end of the range."""
    span = part.span
    moments = [record.sent_ms for record in records]
    lower = Span(span.since_ms, min(moments) + 1).meet(span)
    upper = Span(max(moments), span.until_ms).meet(span)
    if not (lower.length_ms and upper.length_ms):
        return _halved(span)
    below = yield from ask(Query(*lower, limit=limit))
    above = yield from ask(Query(*upper, limit=limit))
    more_below = sum(record.sent_ms < min(moments) for record in below.inside(lower))
    more_above = sum(record.sent_ms > max(moments) for record in above.inside(upper))
    enough = DECISIVE * reply.page.rows
    if more_below >= enough and not more_above and not learnt.may_hold_back(above, limit):
        learnt.takes = Takes.NEWEST
        return _end_of(span, reply, records, learnt.takes, below)
    if more_above >= enough and not more_below and not learnt.may_hold_back(below, limit):
        learnt.takes = Takes.OLDEST
        return _end_of(span, reply, records, learnt.takes, above)
    if (
        reply.page.rows >= limit
        or more_below
        or more_above
        or learnt.may_hold_back(below, limit)
        or learnt.may_hold_back(above, limit)
    ):
        return _halved(span)
    # Neither side holds more: the page was all there is, and the edges were read whole beside it.
    everything = [
        *below.inside(lower),
        *(r for r in reply.inside(span) if r.sent_ms not in lower and r.sent_ms not in upper),
        *above.inside(upper),
    ]
    rejected = (*reply.page.rejected, *below.page.rejected, *above.page.rejected)
    return Outcome(Read(span, everything, reply.asked_ms, rejected), [])
