"""Reading a row in which anything may be missing, null, of the wrong type or new. Slow, and fails for no row
that a server would write.

`answer.py` reads good rows; this reads what it could not, by the same rules.
"""

import json
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

from infobip_exporter.infobip.kinds import RawKind, kind_of
from infobip_exporter.infobip.moments import moment_ms
from infobip_exporter.infobip.on_request import reader_of
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import Record, RejectedRow

_CHANGES_WITH_STATUS = frozenset({"status", "error", "doneAt", "price"})
_MOST_COUNT_DIGITS = 10

LONGEST_ID = 256
"""Characters of messageId, sender, entityId and applicationId. They are kept, and shown with every scrape."""

LONGEST_NAME = 128
"""Characters of the names of statuses and errors, and of a currency."""


class _Number(str):
    """A JSON number as it was written: no digit lost, no limit on its size, and still told from a text."""

    __slots__ = ()


_JSON = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=lambda _name: None)


def parse_json(body: bytes) -> object:
    """`body` as untyped values; NaN and the infinities are null.

    Raises ValueError, also for invalid UTF-8 and bare control characters: bytes that were garbled on the way must not
    make up a message.
    """
    try:
        return _JSON.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_row(row: object, labels: tuple[Label, ...] = ()) -> Record | RejectedRow:
    """The record that `row`, an untyped JSON value, holds, or why it can't be counted; `labels` are read on request.

    Raises ValueError for a row nested so deeply that `parse_json` only just read it.
    """
    fields = _object(row)
    message_id = _id(fields.get("messageId"))
    if not message_id:
        return RejectedRow("no_id", fingerprint(row), field="messageId")
    sent_ms = _moment(fields.get("sentAt"))
    if sent_ms is None:
        return RejectedRow("no_sent_at", fingerprint(row), message_id, "sentAt")
    price, platform = _object(fields.get("price")), _object(fields.get("platform"))
    status, error = _object(fields.get("status")), _object(fields.get("error"))
    permanent = error.get("permanent")
    raw_kind = (
        _text(status.get("groupName")),
        _text(status.get("name")),
        _text(error.get("groupName")),
        _text(error.get("name")),
        permanent if isinstance(permanent, bool) else None,
        _id(platform.get("entityId")),
        _id(platform.get("applicationId")),
        _text(price.get("currency")),
        _decimal(price.get("pricePerMessage")),
        _count(fields.get("messageCount")),
    )
    if too_long := _too_long(message_id, _id(fields.get("sender")), raw_kind):
        return RejectedRow(
            "too_long", fingerprint(row), message_id if len(message_id) <= LONGEST_ID else "", too_long
        )
    kind = kind_of(raw_kind, reader_of(labels).of_fields(fields))
    if kind is None:
        return RejectedRow("no_status", fingerprint(row), message_id, "status.groupName")
    return Record(message_id, sent_ms, _moment(fields.get("doneAt")), kind, _id(fields.get("sender")))


def _too_long(message_id: str, sender: str, raw: RawKind) -> str:
    """The first field that is longer than any that the API writes; "" for none."""
    status_group, status, error_group, error, _, entity_id, application_id, currency, *_ = raw
    lengths = (
        ("messageId", message_id, LONGEST_ID),
        ("sender", sender, LONGEST_ID),
        ("platform.entityId", entity_id, LONGEST_ID),
        ("platform.applicationId", application_id, LONGEST_ID),
        ("status.groupName", status_group, LONGEST_NAME),
        ("status.name", status, LONGEST_NAME),
        ("error.groupName", error_group, LONGEST_NAME),
        ("error.name", error, LONGEST_NAME),
        ("price.currency", currency, LONGEST_NAME),
    )
    return next((field for field, text, most in lengths if len(text or "") > most), "")


def fingerprint(row: object) -> bytes:
    """Eight bytes that stay the same while the row's status changes. They tell nothing of what the row holds.

    Raises ValueError as `read_row` does.
    """
    message_id = _id(_object(row).get("messageId"))
    if message_id:
        seen = "id:" + message_id
    elif isinstance(row, dict):
        seen = _canonical({name: value for name, value in row.items() if name not in _CHANGES_WITH_STATUS})
    else:
        seen = _canonical(row)
    return blake2b(seen.encode("utf-8", "replace"), digest_size=8).digest()


def _canonical(value: object) -> str:
    try:
        return "row:" + json.dumps(value, sort_keys=True)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(value: object) -> str:
    """A text, or a number as it was written. Lone surrogates, which no label can carry, are replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _text(value: object) -> str:
    return "" if isinstance(value, _Number) else _id(value)


def _moment(value: object) -> int | None:
    return moment_ms(_text(value))


def _decimal(value: object) -> Decimal | None:
    if not isinstance(value, str):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _count(value: object) -> int | None:
    """A whole number, also where it is written as text or as 2.0."""
    number = _decimal(value)
    if number is None or not number.is_finite() or number.adjusted() >= _MOST_COUNT_DIGITS:
        return None
    return int(number) if number == int(number) else None
