"""What the simulated Infobip knows of a message: when it was sent and seen, and each status it goes through."""

from decimal import Decimal
from typing import Literal, NamedTuple
from zlib import crc32

from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.record import NOT_FINAL
from infobip_sandbox import statuses
from infobip_sandbox.statuses import Error, Status

Defect = Literal["", "no_id", "no_sent_at", "no_status"]
"""What a row lacks to be counted, in the words of `records_rejected_total`; "" for a good row."""


class Step(NamedTuple):
    """A status from `at_ms` on, with the error and the price that the log shows with it."""

    at_ms: int
    status: Status
    error: Error | None = statuses.NO_ERROR
    price: Decimal | None = None
    """Price of one part; None where the row has no price."""
    currency: str = ""

    @property
    def final(self) -> bool:
        return self.status.group_name not in NOT_FINAL


class Message(NamedTuple):
    """A message and all that ever happens to it. Times are milliseconds since the epoch by the API's clock.

    `steps` run forward in time and begin at `sent_ms`. A missing entity, application, bulk or campaign is "".
    """

    message_id: str
    sent_ms: int
    visible_ms: int
    """When the message turns up in the log, never before it was sent."""
    steps: tuple[Step, ...]
    sender: str = "44113496000"
    destination: str = "66855538125"
    entity_id: str = ""
    application_id: str = ""
    bulk_id: str = ""
    campaign: str = ""
    text: str = "Sent text"
    parts: int = 1
    defect: Defect = ""
    done_told: bool = True
    """Whether the log gives a doneAt once the message has settled."""
    done_ms: int | None = None
    """What the log gives as doneAt, where that is not when the message settled."""
    gone_ms: int | None = None
    """When the log ceases to show the message at this sent time, because it has moved to another."""
    unshowable: bool = False
    """Whether every answer that should hold the row is an error."""
    content_type: str = "TEXT"
    mcc_mnc: str = ""
    """The network of the destination, where the channel's rows tell it."""

    def shown_at(self, now_ms: int) -> bool:
        """Whether the log shows the message at `now_ms`, its age aside."""
        return self.visible_ms <= now_ms and (self.gone_ms is None or now_ms < self.gone_ms)

    @property
    def within(self) -> bool:
        """Whether it was sent within its millisecond, not at its beginning, where that makes a difference."""
        return crc32(self.message_id.encode()) % 2 == 1

    def state_at(self, now_ms: int) -> Step:
        """The step the message is in at `now_ms`; before it was sent, the first."""
        state = self.steps[0]
        for step in self.steps[1:]:
            if step.at_ms > now_ms:
                break
            state = step
        return state

    def settled_at(self, now_ms: int) -> Step | None:
        """The first final step, if the message reached it by `now_ms` and while the log still held the message."""
        for step in self.steps:
            if step.at_ms > now_ms or step.at_ms >= self.leaves_ms:
                return None
            if step.final:
                return step
        return None

    @property
    def leaves_ms(self) -> int:
        """From when on the log does not hold the message any more."""
        return self.sent_ms + LOG_KEEPS_MS


def plain_message(
    message_id: str,
    sent_ms: int,
    group: str = "DELIVERED",
    *,
    settles_after_ms: int = 1000,
    late_ms: int = 0,
    price: str | None = "0.15",
    currency: str = "EUR",
    error: Error | None = statuses.NO_ERROR,
    entity_id: str = "",
    application_id: str = "",
    sender: str = "44113496000",
    parts: int = 1,
    defect: Defect = "",
) -> Message:
    """A message written by hand: pending when sent, then in `group` (PENDING: stays so) after `settles_after_ms`."""
    amount = Decimal(price) if price is not None else None
    told_currency = currency if price is not None else ""
    steps = [Step(sent_ms, statuses.ENROUTE, error, amount, told_currency)]
    if group != "PENDING":
        settled = Step(
            sent_ms + settles_after_ms, statuses.DEFAULT_OF_GROUP[group], error, amount, told_currency
        )
        steps = [*steps, settled] if settles_after_ms else [settled]
    return Message(
        message_id=message_id,
        sent_ms=sent_ms,
        visible_ms=sent_ms + late_ms,
        steps=tuple(steps),
        sender=sender,
        entity_id=entity_id,
        application_id=application_id,
        parts=parts,
        defect=defect,
    )
