"""From the bytes of an answer to a `Page`: the hot path of the whole exporter.

A good page is decoded typed and at once. One bad row sends the page row by row, and only that row to the lenient
reading; a body that is not quite what JSON allows (half an emoji, NaN) is read leniently as a whole.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from infobip_exporter.errors import ExporterError
from infobip_exporter.infobip.kinds import Group, Id, Platform, Price, kind_of
from infobip_exporter.infobip.lenient import parse_json, read_row
from infobip_exporter.infobip.moments import moment_ms, moments_ms
from infobip_exporter.infobip.on_request import Values, reader_of
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import NO_TIME_MS, Kind, Page, Record, Records, RejectedRow

MOST_ROWS = 5000
"""An answer with more is no answer to a query for 1000 (query.py, PAGE_LIMIT)."""
_MOST_COMMAS = 250_000
"""A body with more is not decoded: each comma may stand for an object of 100 bytes. A row has about 25."""

_LARGEST_KEPT = 2048
"""Bytes of the values that decide a row's kind, 400 usually; larger ones are not kept for the next row."""

_LONGEST_CURSOR = 2048
"""Characters; it goes into the next request's URL."""

_TOO_MANY_ROWS = f"the answer has more than {MOST_ROWS} rows, 1000 were asked for"


class InvalidBody(ExporterError, ValueError):
    """The body is not JSON of the form {"results": [...]}. The text says what it is; it holds none of the body."""


_NO_GROUP, _NO_PRICE, _NO_PLATFORM = Group(), Price(), Platform()
_NOTHING = msgspec.Raw(b"null")
_BETWEEN = b"\0"
"""No JSON holds it."""


# gc=False: as in kinds.py
class _Row(msgspec.Struct, rename="camel", gc=False):
    message_id: Id | None = None
    sent_at: str | None = None
    done_at: str | None = None
    message_count: int | None = None
    sender: Id | None = None
    status: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    price: msgspec.Raw = _NOTHING
    platform: msgspec.Raw = _NOTHING
    """What decides the kind stays as it is written: the rows of a page share few of these, see `_kind`."""


class _Rows(msgspec.Struct):
    results: list[_Row]
    cursor: Any = None


class _RawRows(msgspec.Struct):
    results: list[msgspec.Raw]
    cursor: Any = None


_decode_rows = msgspec.json.Decoder(_Rows).decode
_decode_raw_rows = msgspec.json.Decoder(_RawRows).decode
_decode_row = msgspec.json.Decoder(_Row).decode
_decode_group = msgspec.json.Decoder(Group | None).decode
_decode_price = msgspec.json.Decoder(Price | None).decode
_decode_platform = msgspec.json.Decoder(Platform | None).decode
# ValueError: msgspec's own errors and UnicodeDecodeError. TypeError: a price "sNaN", which has no hash.
_NOT_TYPED = (ValueError, RecursionError, TypeError)


def decode_page(body: bytes, labels: tuple[Label, ...] = ()) -> Page:
    """The page that `body` holds; with the values of `labels`, which are read on request.

    Rows that can't be counted come back as `Page.rejected`; no row makes the page fail. Raises InvalidBody where the
    body isn't JSON of the form {"results": [...]}, and nothing else.
    """
    # Shorter bodies hold no more values: each takes two characters.
    if len(body) > 2 * _MOST_COMMAS and body.count(b",") > _MOST_COMMAS:
        raise InvalidBody(_TOO_MANY_ROWS)
    try:
        page = _decode_rows(body)
        records = None
        if len(page.results) <= MOST_ROWS:
            on_request = reader_of(labels).of_body(body) if labels else repeat((), len(page.results))
            records = _records(page.results, on_request)
    except _NOT_TYPED:
        records = None
    if records is None:
        return _decode_by_row(body, labels)
    return _page(records, [], page.cursor)


def _records(rows: list[_Row], on_request: Iterable[Values]) -> Records | None:
    """The records of `rows`, or None where one of them can't be counted. `on_request` are values of each row."""
    places: dict[tuple[bytes, int | None, Values], int] = {}
    of_kind = [
        places.setdefault(
            (_BETWEEN.join((row.status, row.error, row.price, row.platform)), row.message_count, values),
            len(places),
        )
        for row, values in zip(rows, on_request, strict=True)
    ]
    kinds = [kind for each in places if (kind := _kind_of(*each)) is not None]
    sent_ms = moments_ms([row.sent_at or "" for row in rows])
    message_ids = [row.message_id for row in rows if row.message_id]
    if len(kinds) < len(places) or len(message_ids) < len(rows) or (sent_ms == NO_TIME_MS).any():
        return None
    done_ms = np.full(len(rows), NO_TIME_MS)
    has_done = np.array([bool(row.done_at) for row in rows], np.bool_)
    done_ms[has_done] = moments_ms([row.done_at for row in rows if row.done_at])
    senders = [row.sender or "" for row in rows]
    return Records(message_ids, sent_ms, done_ms, kinds, np.array(of_kind, np.intp), senders)


def _record(row: _Row, values: Values) -> Record | None:
    """The record of one row, None where it can't be counted."""
    written = _BETWEEN.join((row.status, row.error, row.price, row.platform))
    kind, sent_ms = _kind_of(written, row.message_count, values), moment_ms(row.sent_at or "")
    if kind is None or sent_ms is None or not row.message_id:
        return None
    return Record(row.message_id, sent_ms, moment_ms(row.done_at or ""), kind, row.sender or "")


def _kind_of(written: bytes, count: int | None, on_request: Values) -> Kind | None:
    """The kind of a row with `written` between its values, the same object each time. Raises msgspec's errors."""
    read = _kind if len(written) <= _LARGEST_KEPT else _kind.__wrapped__
    return read(written, count, on_request)


@lru_cache(maxsize=4096)
def _kind(written: bytes, count: int | None, on_request: Values) -> Kind | None:
    status, error, price, platform = written.split(_BETWEEN)
    return kind_of(
        _decode_group(status) or _NO_GROUP,
        _decode_group(error) or _NO_GROUP,
        _decode_price(price) or _NO_PRICE,
        _decode_platform(platform) or _NO_PLATFORM,
        count,
        on_request,
    )


def _decode_by_row(body: bytes, labels: tuple[Label, ...]) -> Page:
    try:
        page = _decode_raw_rows(body)
    except (ValueError, RecursionError):
        return _decode_leniently(body, labels)
    if len(page.results) > MOST_ROWS:
        raise InvalidBody(_TOO_MANY_ROWS)
    try:
        return _sorted_out([_read_raw(bytes(raw), labels) for raw in page.results], page.cursor)
    except ValueError:
        raise InvalidBody(_what_it_is(body)) from None


def _read_raw(raw: bytes, labels: tuple[Label, ...]) -> Record | RejectedRow:
    try:
        record = _record(_decode_row(raw), reader_of(labels).of_row(raw))
    except _NOT_TYPED:
        record = None
    return record or read_row(parse_json(raw), labels)


def _decode_leniently(body: bytes, labels: tuple[Label, ...]) -> Page:
    try:
        answer = parse_json(body)
    except ValueError:
        raise InvalidBody(_what_it_is(body)) from None
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(results, list):
        raise InvalidBody("the answer is JSON without a list of results")
    if len(results) > MOST_ROWS:
        raise InvalidBody(_TOO_MANY_ROWS)
    try:
        return _sorted_out([read_row(row, labels) for row in results], answer.get("cursor"))
    except ValueError:
        raise InvalidBody(_what_it_is(body)) from None


def _what_it_is(body: bytes) -> str:
    start = body[:100].lstrip()
    if not start:
        return "the answer is empty"
    if start.startswith(b"<"):
        return "the answer is HTML or XML, not JSON"
    return "the answer is not whole JSON"


def _sorted_out(rows: list[Record | RejectedRow], cursor: object) -> Page:
    records = Records.of(row for row in rows if isinstance(row, Record))
    rejected = [row for row in rows if isinstance(row, RejectedRow)]
    return _page(records, rejected, cursor)


def _page(records: Records, rejected: list[RejectedRow], cursor: object) -> Page:
    offered = isinstance(cursor, dict)
    following = cursor.get("nextCursor") if isinstance(cursor, dict) else None
    if isinstance(following, str) and len(following) > _LONGEST_CURSOR:
        raise InvalidBody(f"the answer's cursor has more than {_LONGEST_CURSOR} characters")
    next_cursor = following if isinstance(following, str) and following else None
    return Page(records, len(records) + len(rejected), rejected, next_cursor, offered)
