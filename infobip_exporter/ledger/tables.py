"""The tables of ledgers as SQLite and PostgreSQL have them both, and what they hold of a feed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.encoding import labels_of, stored_cell, value_of
from infobip_exporter.ledger.store import Held, Saved
from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Series

Row = tuple[Any, ...]


class Tables(ABC):
    """Raises LedgerError for what can't be read, and for values that no exporter wrote."""

    where: str

    @abstractmethod
    def select(self, statement: str) -> list[Row]:
        """The rows that a statement without parameters selects."""

    def feeds(self) -> Iterator[tuple[str, str, Saved]]:
        """Account, channel, and what is kept of the feed."""
        for feed_id, account, channel, progress in self.select(
            "SELECT id, account, channel, progress FROM feed ORDER BY 2, 3"
        ):
            yield account, channel, self.saved(Held(feed_id), progress)

    def saved(self, held: Held, progress: bytes) -> Saved:
        """What is kept of a feed."""
        try:
            return Saved(
                held,
                progress,
                {
                    Series(str(family), labels_of(labels)): value_of(value)
                    for family, labels, value in self._of(held, "family, labels, value", "series")
                },
                sorted(stored_cell(row) for row in self._of(held, ", ".join(Cell._fields), "cell")),
                {
                    (int(hour), self.status_of(status)): int(messages)
                    for hour, status, messages in self._of(
                        held, "hour, general_status, messages", "settled_by_hour"
                    )
                },
            )
        except (ValueError, TypeError, ArithmeticError) as error:
            raise LedgerError(
                f"state {self.where}: holds a value that no exporter wrote ({error}): run state check, or restore a"
                " backup"
            ) from error

    def released(self, held: Held) -> set[Series]:
        """The series whose real value may be shown."""
        return {
            Series(family, labels_of(labels))
            for family, labels in self._of(held, "family, labels", "released")
        }

    def rejected(self, held: Held) -> dict[bytes, int]:
        """The fingerprints of rows that can't be counted, and when they were read."""
        return dict(self._of(held, "fingerprint, read_ms", "rejected"))

    def status_of(self, stored: object) -> str:
        """The general status that stands in a row of `settled_by_hour`."""
        return str(stored)

    def _of(self, held: Held, columns: str, table: str) -> list[Row]:
        return self.select(f"SELECT {columns} FROM {table} WHERE feed_id = {held.feed_id:d}")
