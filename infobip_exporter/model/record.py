"""What the API's answer means, as values: a record of the log, and a page of them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

NOT_FINAL = frozenset({"ACCEPTED", "PENDING"})
"""Status groups that a message can leave again. Every other group is final, also one nobody has heard of."""


class Kind(NamedTuple):
    """Everything that decides where a message counts. The records of a page share few kinds.

    `general_status` and `error_group` are upper case with underscores; a missing error group, entity, application
    or currency is the empty string. `cost` is pricePerMessage x messageCount, exact; 0 without a price.
    """

    general_status: str
    error_group: str
    entity_id: str
    application_id: str
    currency: str
    cost: Decimal
    parts: int

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
    """A row that can't be counted. `reason` is `no_id`, `no_sent_at` or `no_status`.

    `fingerprint` is the same each time the same row is read, whatever its status has become.
    """

    reason: str
    fingerprint: bytes


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
    """A page with what came along: the API's clock (Date header, whole seconds; None without one) and the time taken.

    The API wrote its date between `asked_s`, just before the request was sent, and `received_s`, when the headers had
    arrived; both are seconds of the event loop's clock.
    """

    page: Page
    date_ms: int | None
    took_s: float
    asked_s: float
    received_s: float
