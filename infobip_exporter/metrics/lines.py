"""The beginnings of a feed's lines, kept from scrape to scrape: all that does not change while its numbers do."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Generic, NamedTuple, TypeVar

from prometheus_client.utils import floatToGoString

from infobip_exporter.metrics.catalog import FAMILIES, Family
from infobip_exporter.model.series import Series

Value = TypeVar("Value")
Beginning = TypeVar("Beginning")
Labels = Iterable[tuple[str, str]]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_RANK = {family.name: rank for rank, family in enumerate(FAMILIES)}
_FAMILY = {family.name: family for family in FAMILIES}


class Block(NamedTuple, Generic[Beginning]):
    """The series of one family, sorted by their labels: their places in the mapping, and their line beginnings."""

    places: list[int]
    beginnings: list[Beginning]


class Lines(Generic[Beginning]):
    """The line beginnings of one mapping of a snapshot, by family.

    `begin` makes those of a series. It is called once a series, for as long as it stays in the mapping; what leaves the
    mapping is forgotten.
    """

    def __init__(self, begin: Callable[[Series], Beginning]) -> None:
        self._begin = begin
        self._series: list[Series] = []
        self._known: dict[Series, Beginning] = {}
        self.blocks: dict[str, Block[Beginning]] = {}
        """The blocks by family name, as of the last `follow`."""

    def follow(self, mapping: Mapping[Series, object]) -> list[Series]:
        """Take over the series of `mapping` as those to be shown. Returns the ones that were not there before."""
        series = list(mapping)
        # Commits change values and add series at the end, so most times the very same ones come in the same order.
        if series == self._series:
            return []
        new = [each for each in series if each not in self._known]
        begun = {each: self._begin(each) for each in new}
        self._known = {each: begun[each] if each in begun else self._known[each] for each in series}
        self._series = series
        self._arrange()
        return new

    def _arrange(self) -> None:
        self.blocks = {}
        ordered = sorted((_RANK[each.family], each.labels, place) for place, each in enumerate(self._series))
        for _, _, place in ordered:
            series = self._series[place]
            block = self.blocks.setdefault(series.family, Block([], []))
            block.places.append(place)
            block.beginnings.append(self._known[series])

    def columns(
        self, mapping: Mapping[Series, Value]
    ) -> Iterator[tuple[str, Sequence[Beginning], Sequence[Value]]]:
        """For each family its name, line beginnings and values; `mapping` has the series of the last `follow`."""
        values = list(mapping.values())
        for family, block in self.blocks.items():
            yield family, block.beginnings, [values[place] for place in block.places]


def beginner(account: str, channel: str) -> Callable[[Series], str]:
    """A function that writes `name{labels} ` for a series of this feed."""
    common = (("account", account), ("channel", channel))

    def begin(series: Series) -> str:
        return f"{series.family}{label_set((*common, *series.labels))} "

    return begin


def histogram_beginner(account: str, channel: str) -> Callable[[Series], tuple[str, ...]]:
    """A function that writes the beginnings of a histogram's lines: each bucket, +Inf, the sum, the count."""
    common = (("account", account), ("channel", channel))

    def begin(series: Series) -> tuple[str, ...]:
        family = _FAMILY[series.family]
        labels = (*common, *series.labels)
        buckets = (
            f"{family.name}_bucket{label_set((*labels, ('le', _go_float(bound))))} "
            for bound in (*family.buckets, float("inf"))
        )
        return (
            *buckets,
            f"{family.name}_sum{label_set(labels)} ",
            f"{family.name}_count{label_set(labels)} ",
        )

    return begin


def label_set(labels: Labels) -> str:
    """`{name="value",...}` with every value escaped; "" for no labels. A missing value is the empty label."""
    pairs = ",".join([f'{name}="{_escaped(value)}"' for name, value in labels])
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    if '"' in value or "\\" in value or "\n" in value:
        return value.translate(_ESCAPES)
    return value


def heading(family: Family, *, open_metrics: bool) -> str:
    """The HELP and TYPE lines. In OpenMetrics a counter's family goes without `_total`."""
    name = family.name
    explained = family.help.replace("\\", r"\\").replace("\n", r"\n")
    if open_metrics:
        explained = explained.replace('"', r"\"")
        if family.type == "counter":
            name = name.removesuffix("_total")
    return f"# HELP {name} {explained}\n# TYPE {name} {family.type}\n"


def number(value: float | Decimal) -> str:
    """`value` as Prometheus and OpenMetrics read it; whole numbers and decimals exactly."""
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _go_float(value)
    text = str(value)
    if "E" in text:
        # As digits while they are few; beyond, a float's notation, for Prometheus refuses 1E+400.
        return f"{value:f}" if abs(value.adjusted()) <= 40 else _go_float(float(value))
    return text


def numbers(values: Sequence[int | Decimal]) -> Iterable[str]:
    """Each of `values` as text. Whole numbers, nearly all of them, take the short way."""
    return map(str if set(map(type, values)) == {int} else number, values)


def _go_float(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
