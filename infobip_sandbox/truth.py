"""The oracle: what an exact count must say. Written to be read, not to be fast."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_sandbox.message import Message, Step


@dataclass(slots=True)
class Truth:
    """Expected values, keyed as the labels of the metrics are. A missing entity, application or error group is "".

    Only messages that the log has shown by then are in it, and only settlements that it showed: a message that
    reaches a final status when its record has left is `unresolved`.
    """

    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(entity_id, application_id)"""
    settled: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(general_status, error_group, entity_id, application_id), by the first final status"""
    unresolved: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(general_status, entity_id, application_id)"""
    in_flight: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(general_status, entity_id, application_id)"""
    parts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(general_status, entity_id, application_id), of settled messages"""
    cost: defaultdict[tuple[str, str, str, str], Decimal] = field(
        default_factory=lambda: defaultdict(Decimal)
    )
    """(currency, general_status, entity_id, application_id), of settled messages that have a price, also of 0"""
    failures: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    """(general_status, status, error, permanent, entity_id), of messages that settled as anything but DELIVERED"""
    deliveries: Counter[str] = field(default_factory=Counter)
    """general_status: settled messages that have a doneAt that can be"""
    delivery_ms: Counter[str] = field(default_factory=Counter)
    """general_status: sum of doneAt - sentAt of those"""
    rejected: Counter[str] = field(default_factory=Counter)
    """reason: rows that can't be counted"""


def tell(messages: Iterable[Message], now_ms: int) -> Truth:
    """The truth of `messages` at `now_ms`, read by one who saw each of them just before it left the log."""
    truth = Truth()
    for message in messages:
        # A record that turns up after it has left is never shown.
        if not message.shown_at(min(now_ms, message.leaves_ms - 1)) or message.unshowable:
            continue
        if message.defect:
            truth.rejected[message.defect] += 1
            continue
        truth.sent[message.entity_id, message.application_id] += 1
        settled = message.settled_at(now_ms)
        if settled is not None:
            _settle(truth, message, settled)
        elif now_ms >= message.leaves_ms:
            last = message.state_at(message.leaves_ms - 1)
            status = normalised(last.status.group_name)
            truth.unresolved[status, message.entity_id, message.application_id] += 1
        else:
            status = normalised(message.state_at(now_ms).status.group_name)
            truth.in_flight[status, message.entity_id, message.application_id] += 1
    return truth


def _settle(truth: Truth, message: Message, step: Step) -> None:
    status = normalised(step.status.group_name)
    error_group = normalised(step.error.group_name) if step.error is not None else ""
    platform = (message.entity_id, message.application_id)
    truth.settled[status, error_group, *platform] += 1
    truth.parts[status, *platform] += message.parts
    if step.price is not None:
        truth.cost[step.currency, status, *platform] += step.price * message.parts
    if status != "DELIVERED":
        truth.failures[status, step.status.name, *error_of(step), message.entity_id] += 1
    took_ms = duration_ms(message, step)
    if took_ms is not None:
        truth.deliveries[status] += 1
        truth.delivery_ms[status] += took_ms


def duration_ms(message: Message, step: Step) -> int | None:
    """What the log says of how long the message took to settle in `step`; None where it says nothing that can be."""
    done_ms = message.done_ms if message.done_ms is not None else step.at_ms
    took_ms = done_ms - message.sent_ms
    return took_ms if message.done_told and 0 <= took_ms <= LOG_KEEPS_MS else None


def error_of(step: Step) -> tuple[str, str]:
    """The labels `error` and `permanent`."""
    return (step.error.name, str(step.error.permanent).lower()) if step.error is not None else ("", "")


def normalised(group: str) -> str:
    """A group's name as the labels have it: `Client errors` is CLIENT_ERRORS."""
    return group.upper().replace(" ", "_")
