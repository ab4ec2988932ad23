"""General statuses as numbers: what is kept of a settled message has room for seven bits."""

from collections.abc import Iterable

from infobip_exporter.counting.known import MOST_STATUSES, STATUS_MASK
from infobip_exporter.model.labels import OTHER


class Statuses:
    """Numbers for general statuses, for what is kept of settled messages. Numbers never change their meaning."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, name: str) -> int:
        if name not in self._numbers:
            if len(self.names) >= MOST_STATUSES:
                name = OTHER
            self._numbers[name] = self._numbers.get(name, len(self.names))
            if self._numbers[name] == len(self.names):
                self.names.append(name)
        return self._numbers[name]

    def kept(self, name: str) -> str:
        """The name under which a status is kept: `__other__` where the numbers have run out."""
        return self.names[self.number(name)]

    def name(self, flags: int) -> str:
        return self.names[flags & STATUS_MASK]
