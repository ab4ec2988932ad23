"""What the API's answer means, as values: a record of the log, and a page of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import compress
from typing import NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

NO_TIME_MS = np.iinfo(np.int64).min
"""In an array of moments: there is none."""

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


class Records(Sequence[Record]):
    """Records in columns: what is done to a page of a thousand is done to all of them at once.

    `sent_ms` and `done_ms` are as in `Record`, with `NO_TIME_MS` for None. `kinds` are the different kinds, `of_kind` is
    the place of each record's.
    """

    __slots__ = ("done_ms", "kinds", "message_ids", "of_kind", "senders", "sent_ms")

    def __init__(
        self,
        message_ids: Sequence[str],
        sent_ms: NDArray[np.int64],
        done_ms: NDArray[np.int64],
        kinds: Sequence[Kind],
        of_kind: NDArray[np.intp],
        senders: Sequence[str],
    ) -> None:
        self.message_ids = message_ids
        self.sent_ms = sent_ms
        self.done_ms = done_ms
        self.kinds = kinds
        self.of_kind = of_kind
        self.senders = senders

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        records = list(records)
        places: dict[int, int] = {}
        kinds = {id(record.kind): record.kind for record in records}
        done_ms = (NO_TIME_MS if record.done_ms is None else record.done_ms for record in records)
        return cls(
            [record.message_id for record in records],
            np.fromiter((record.sent_ms for record in records), np.int64, len(records)),
            np.fromiter(done_ms, np.int64, len(records)),
            list(kinds.values()),
            np.array([places.setdefault(id(record.kind), len(places)) for record in records], np.intp),
            [record.sender for record in records],
        )

    def where(self, chosen: NDArray[np.bool_]) -> Self:
        """Those for which `chosen` is true."""
        if chosen.all():
            return self
        which = chosen.tolist()
        return type(self)(
            list(compress(self.message_ids, which)),
            self.sent_ms[chosen],
            self.done_ms[chosen],
            self.kinds,
            self.of_kind[chosen],
            list(compress(self.senders, which)),
        )

    def __len__(self) -> int:
        return len(self.message_ids)

    @overload
    def __getitem__(self, number: int) -> Record: ...
    @overload
    def __getitem__(self, number: slice) -> list[Record]: ...
    def __getitem__(self, number: int | slice) -> Record | list[Record]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        done_ms = int(self.done_ms[number])
        return Record(
            self.message_ids[number],
            int(self.sent_ms[number]),
            None if done_ms == NO_TIME_MS else done_ms,
            self.kinds[self.of_kind[number]],
            self.senders[number],
        )

    def __iter__(self) -> Iterator[Record]:
        done = (None if done_ms == NO_TIME_MS else done_ms for done_ms in self.done_ms.tolist())
        kinds = (self.kinds[place] for place in self.of_kind.tolist())
        return map(Record, self.message_ids, self.sent_ms.tolist(), done, kinds, self.senders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


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

    records: Records
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
