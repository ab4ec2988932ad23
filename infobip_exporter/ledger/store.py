"""What keeps ledgers durably: the interface, with SQLite (`sqlite.py`) and PostgreSQL (`postgres.py`) behind it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Series, Value


class Messages(NamedTuple):
    """What is kept of the messages of a cell, as `Changes` gave it: the settled ones, and those in flight."""

    settled: bytes = b""
    in_flight: bytes = b""


@dataclass(slots=True, eq=False)
class Held:
    """What the store knows a feed by that this process may write. On PostgreSQL `epoch` and the number
    of attempts to commit, `commits`, fence off all others and what comes late.
    """

    feed_id: int
    epoch: int = 0
    commits: int = 0


@dataclass(slots=True)
class Saved:
    """What the store holds of a feed. `progress` is empty for a feed that is new."""

    held: Held
    progress: bytes = b""
    series: dict[Series, Value] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    settled_by_hour: dict[tuple[int, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Writes:
    """What a commit writes, every value absolute. Meanings as in `Changes`."""

    series: Mapping[Series, Value] = field(default_factory=dict)
    gone: Iterable[int] = ()
    cells: Sequence[Cell] = ()
    settled: Mapping[int, bytes] = field(default_factory=dict)
    in_flight_messages: Mapping[int, bytes] = field(default_factory=dict)
    settled_by_hour: Mapping[tuple[int, str], int] = field(default_factory=dict)
    rejected: Mapping[bytes, int] = field(default_factory=dict)
    progress: bytes | None = None
    read_up_to_ms: int | None = None
    """As in the progress, for those who look at it from outside."""
    prune_before_ms: int | None = None


class Store(Protocol):
    """The ledgers of all feeds. Every method raises LedgerError, with the place and what to do, and may block.

    When `commit` or `save_released` returns, what it wrote survives a crash and a power cut. When it raises, nothing was
    written, or the same may be written again. It raises LeaseLost where the feed has another owner now.
    """

    where: str

    def load(self, account: str, channel: str) -> Saved:
        """What is kept of a feed; one that is not known yet begins with nothing."""

    def commit(self, held: Held, writes: Writes) -> None: ...

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        """What is kept of the messages of these cells, by their `since_ms`."""

    def known_rejected(self, held: Held, fingerprints: Iterable[bytes]) -> set[bytes]:
        """Which of these rows have been counted as rejected already."""

    def released(self, held: Held) -> set[Series]: ...

    def save_released(self, held: Held, series: Collection[Series]) -> None: ...

    def may_act(self) -> bool:
        """Whether this process is surely the only one that asks and shows. Returns at once."""

    def close(self) -> None: ...
