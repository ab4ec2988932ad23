"""Reading a row in which anything may be missing, null, of the wrong type or new. Slow, and fails for no row
that a server would write.

`answer.py` reads good rows; this reads what it could not, by the same rules.
"""

import json
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

from infobip_exporter.infobip.kinds import LONGEST_ID, LONGEST_NAME, Group, Platform, Price, kind_of
from infobip_exporter.infobip.moments import moment_ms
from infobip_exporter.infobip.on_request import reader_of
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import Record, RejectedRow

_CHANGES_WITH_STATUS = frozenset({"status", "error", "doneAt", "price"})
_MOST_COUNT_DIGITS = 10


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
    status, error = _group(fields.get("status")), _group(fields.get("error"))
    raw_price, raw_platform = _object(fields.get("price")), _object(fields.get("platform"))
    price = Price(_decimal(raw_price.get("pricePerMessage")), _text(raw_price.get("currency")))
    platform = Platform(_id(raw_platform.get("entityId")), _id(raw_platform.get("applicationId")))
    sender = _id(fields.get("sender"))
    lengths = (
        ("messageId", message_id, LONGEST_ID),
        ("sender", sender, LONGEST_ID),
        ("platform.entityId", platform.entity_id, LONGEST_ID),
        ("platform.applicationId", platform.application_id, LONGEST_ID),
        ("status.groupName", status.group_name, LONGEST_NAME),
        ("status.name", status.name, LONGEST_NAME),
        ("error.groupName", error.group_name, LONGEST_NAME),
        ("error.name", error.name, LONGEST_NAME),
        ("price.currency", price.currency, LONGEST_NAME),
    )
    for field, text, most in lengths:
        if len(text or "") > most:
            known_id = message_id if len(message_id) <= LONGEST_ID else ""
            return RejectedRow("too_long", fingerprint(row), known_id, field)
    count = _count(fields.get("messageCount"))
    kind = kind_of(status, error, price, platform, count, reader_of(labels).of_fields(fields))
    if kind is None:
        return RejectedRow("no_status", fingerprint(row), message_id, "status.groupName")
    return Record(message_id, sent_ms, _moment(fields.get("doneAt")), kind, sender)


def _group(value: object) -> Group:
    fields = _object(value)
    permanent = fields.get("permanent")
    return Group(
        _text(fields.get("groupName")),
        _text(fields.get("name")),
        permanent if isinstance(permanent, bool) else None,
    )


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
