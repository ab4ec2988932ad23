"""Reading the labels of a row that are read only where they are chosen."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from infobip_exporter.model.labels import OTHER, Label

LONGEST_VALUE = 256
"""Characters of a value; a longer one counts as `__other__`."""

Values = tuple[tuple[str, str], ...]
"""Values of labels by name."""


class OnRequest:
    """Reads these labels, beside what is read of every row. They are few, so a body is decoded once more for them."""

    def __init__(self, labels: Iterable[Label]) -> None:
        self._labels = tuple(labels)
        keys = dict.fromkeys(label.path[0] for label in self._labels)
        self._row = msgspec.defstruct("_Row", [(key, Any, None) for key in keys])
        self._rows = msgspec.defstruct("_Rows", [("results", list[self._row])])  # type: ignore[name-defined]

    def of_body(self, body: bytes) -> list[Values]:
        """Those of each row. Raises msgspec's errors."""
        return [
            self.of_fields(msgspec.structs.asdict(row))
            for row in msgspec.json.decode(body, type=self._rows).results  # type: ignore[attr-defined]
        ]

    def of_row(self, raw: bytes) -> Values:
        """Those of a row. Raises msgspec's errors."""
        return self.of_fields(msgspec.structs.asdict(msgspec.json.decode(raw, type=self._row)))

    def of_fields(self, fields: Mapping[str, object]) -> Values:
        """Those of a row's untyped values."""
        values = ((label.name, label.value(_text_at(fields, label.path))) for label in self._labels)
        return tuple((name, value if len(value) <= LONGEST_VALUE else OTHER) for name, value in values)


@lru_cache(maxsize=64)
def reader_of(labels: tuple[Label, ...]) -> OnRequest:
    return OnRequest(labels)


def _text_at(fields: Mapping[str, object], path: tuple[str, ...]) -> str:
    value: object = fields
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # no label can carry a lone surrogate
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
