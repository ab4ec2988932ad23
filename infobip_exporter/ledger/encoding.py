"""How values of a ledger are written into a database's columns."""

import json
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from infobip_exporter.model.cells import Cell
from infobip_exporter.model.series import Histogram, Series, Value


@lru_cache(maxsize=65_536)
def labels_text(series: Series) -> str:
    """The labels of a series as a JSON object."""
    return json.dumps(dict(series.labels), ensure_ascii=False, separators=(",", ":"))


def labels_of(text: object) -> tuple[tuple[str, str], ...]:
    """The labels that `labels_text` wrote. Raises ValueError or TypeError for what it did not."""
    labels = json.loads(str(text))
    if not isinstance(labels, dict):
        raise TypeError(f"{str(text)[:20]!r} is no set of labels")
    return tuple((str(name), str(value)) for name, value in labels.items())


def plain_value(value: Value) -> int | str:
    """An integer, an exact decimal as text, or a histogram as JSON `[[counts], "sum"]`."""
    if isinstance(value, Histogram):
        return json.dumps([value.counts, str(value.sum_s)])
    return value if isinstance(value, int) else str(value)


def value_of(stored: object) -> Value:
    """The value that `plain_value` wrote. Raises ValueError or TypeError for what it did not."""
    text = str(stored)
    if text.removeprefix("-").isdigit():
        return int(text)
    if text.startswith("["):
        counts, sum_s = json.loads(text)
        return Histogram(tuple(map(int, counts)), _decimal(sum_s))
    return _decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:20]!r} is no number") from None


def stored_cell(row: tuple[object, ...]) -> Cell:
    """The cell of a row with its columns in order."""
    numbers = [int(value) for value in row]  # type: ignore[call-overload]
    cell = Cell(*numbers)
    return cell._replace(
        final=bool(cell.final),
        audited=bool(cell.audited),
        auditable=bool(cell.auditable),
        ids=cell.ids % (1 << 64),
        outcomes=cell.outcomes % (1 << 64),
    )


def signed(number: int) -> int:
    """An unsigned 64-bit number as the signed one that databases hold."""
    return number - (1 << 64) if number >= 1 << 63 else number
