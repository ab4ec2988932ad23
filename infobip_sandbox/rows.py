"""Records as JSON objects, field by field as on the reference page."""

from typing import Any
from zlib import crc32

from infobip_sandbox.message import Message, Step
from infobip_sandbox.moments import write_moment
from infobip_sandbox.quirks import Quirks

_EMPTY: dict[str, object] = {}


def row(message: Message, now_ms: int, quirks: Quirks) -> dict[str, Any]:
    """What the log shows of `message` at `now_ms`; to be encoded with decimals as numbers."""
    state = message.state_at(now_ms)
    offset = quirks.utc_offset_minutes
    shown: dict[str, Any] = {
        "sender": message.sender,
        "destination": message.destination,
        "bulkId": message.bulk_id or None,
        "messageId": message.message_id,
        "sentAt": write_moment(message.sent_ms, offset),
        "doneAt": write_moment(_done_ms(message), offset) if state.final and message.done_told else None,
        "messageCount": message.parts,
        "price": _price(state),
        "status": state.status,
        "error": state.error,
        "platform": _platform(message),
        "content": {"text": message.text, "type": message.content_type},
        "campaignReferenceId": message.campaign or None,
    }
    if message.mcc_mnc:
        shown["mccMnc"] = message.mcc_mnc
    if quirks.without_content_share and _draw(message, 1) < quirks.without_content_share:
        shown["content"] = None
    if None in shown.values():
        _show_absent(shown, message, quirks)
    if quirks.new_field_share and _draw(message, 2) < quirks.new_field_share:
        shown["network"] = {"mcc": 262, "tags": ["a", None, 1.5]}
    if message.defect:
        _spoil(shown, message)
    return shown


def _done_ms(message: Message) -> int:
    if message.done_ms is not None:
        return message.done_ms
    return next(step.at_ms for step in message.steps if step.final)


def _price(state: Step) -> dict[str, Any] | None:
    if state.price is None:
        return None
    price = {"pricePerMessage": state.price}
    return {**price, "currency": state.currency} if state.currency else price


def _platform(message: Message) -> dict[str, str] | None:
    if message.entity_id and message.application_id:
        return {"entityId": message.entity_id, "applicationId": message.application_id}
    if message.entity_id:
        return {"entityId": message.entity_id}
    return {"applicationId": message.application_id} if message.application_id else None


def _show_absent(shown: dict[str, Any], message: Message, quirks: Quirks) -> None:
    manner: str = quirks.absent
    if manner == "mixed":
        manner = ("missing", "null", "empty")[crc32(message.message_id.encode()) % 3]
    for name in [name for name, value in shown.items() if value is None]:
        if manner == "missing":
            del shown[name]
        elif manner == "empty":
            shown[name] = "" if name in ("doneAt", "bulkId", "campaignReferenceId") else _EMPTY


def _spoil(shown: dict[str, Any], message: Message) -> None:
    """Take away what the record can't be counted without."""
    if message.defect == "no_id":
        del shown["messageId"]
    elif message.defect == "no_sent_at":
        shown["sentAt"] = "yesterday"
    else:
        shown["status"] = _EMPTY


def _draw(message: Message, salt: int) -> float:
    """A number in [0, 1) that is always the same for a message."""
    return crc32(message.message_id.encode(), salt) / 2**32
