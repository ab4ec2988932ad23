"""The labels a message counts under: real values up to a cap, `__other__` beyond it."""

from collections.abc import Iterable

OTHER = "__other__"


class Caps:
    """Which values each label has been given so far. Once a value has a place it keeps it, over restarts too.

    `most` is how many values a label may have, `taken` the (label, value) pairs that have a place already.
    """

    def __init__(self, most: int, taken: Iterable[tuple[str, str]] = ()) -> None:
        self._most = most
        self._taken: dict[str, set[str]] = {}
        for label, value in taken:
            self._taken.setdefault(label, set()).add(value)

    def admit(self, label: str, value: str) -> str:
        """`value`, or `__other__` where the label has no place left. The empty value always has one."""
        taken = self._taken.setdefault(label, set())
        if value in taken or value in ("", OTHER):
            return value
        if len(taken) >= self._most:
            return OTHER
        taken.add(value)
        return value
