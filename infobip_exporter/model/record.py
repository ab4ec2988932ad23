"""What the API's answer means, as values: a record of the log, and a page of them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

DELIVERED = "DELIVERED"
"""The general status of a message that did not fail."""
NOT_FINAL = frozenset({"ACCEPTED", "PENDING"})
"""Status groups that a message can leave again. Every other group is final, also one nobody has heard of."""

GENERAL_STATUSES = frozenset({"ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED"})
"""The status groups that the API documents."""


class Kind(NamedTuple):
    """Everything that decides where a message counts. The records of a page share few kinds.

    `general_status` and `error_group` are upper case with underscores; `status` and `error` are the API's names, such
    as REJECTED_NOT_ENOUGH_CREDITS, and `permanent` is "true", "false" or "". What a row lacks is the empty string.
    `cost` is pricePerMessage x messageCount, exact; None where the row has no price (yet). `on_request` are the values,
    by name, of labels that are read only where they are chosen.
    """

    general_status: str
    error_group: str
    status: str
    error: str
    permanent: str
    entity_id: str
    application_id: str
    currency: str
    cost: Decimal | None
    parts: int
    on_request: tuple[tuple[str, str], ...] = ()

    @property
    def final(self) -> bool:
        return self.general_status not in NOT_FINAL


class Record(NamedTuple):
    """A row of the log that can be counted. Times are milliseconds since the epoch, UTC, by the API's clock.

    `done_ms` is None where the row has no readable doneAt. `sender` is "" where the row has none.
    """

    message_id: str
    sent_ms: int
    done_ms: int | None
    kind: Kind
    sender: str


class RejectedRow(NamedTuple):
    """A row that can't be counted. `reason` is `no_id`, `no_sent_at`, `no_status` or `too_long`.

    `fingerprint` is the same each time the same row is read, whatever its status has become. `message_id` is "" where
    the row has none, `field` names what is missing, unreadable or too long.
    """

    reason: str
    fingerprint: bytes
    message_id: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the log.

    `rows` is how many rows the answer had, counted or not: it tells whether the page was full.
    `next_cursor` is None where the answer offers no cursor, or says that nothing follows.
    `cursor_offered` is whether the answer had a cursor object at all.
    """

    records: list[Record]
    rows: int
    rejected: list[RejectedRow] = field(default_factory=list)
    next_cursor: str | None = None
    cursor_offered: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A page with what came along.

    `date_ms` is the API's clock (Date header, whole seconds; None without one), told at some moment between `asked_s`
    and `received_s` (monotonic seconds). `took_s` is the time to the last byte.
    """

    page: Page
    date_ms: int | None
    took_s: float
    asked_s: float = 0.0
    received_s: float = 0.0
