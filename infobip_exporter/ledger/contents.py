"""What a state holds, read at one moment while an exporter may be writing it. Nothing is changed."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from infobip_exporter.ledger.store import Held, Messages, Saved
from infobip_exporter.model.series import Series


class Contents(Protocol):
    """A state at one moment. Every method raises LedgerError for what no exporter wrote."""

    where: str
    schema: int
    size_bytes: int

    def feeds(self) -> Iterator[tuple[str, str, Saved]]:
        """Account, channel, and what is kept of the feed."""

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]: ...

    def released(self, held: Held) -> set[Series]: ...

    def rejected(self, held: Held) -> dict[bytes, int]:
        """The fingerprints of rows that can't be counted, and when they were read."""

    def damages(self) -> list[str]:
        """What the database itself finds wrong, a line each. Then the rest says nothing more."""
