"""What a scrape says, and what the sandbox says it must say, in the same form."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from infobip_exporter.metrics import catalog

LabelSet = frozenset[tuple[str, str]]
Counts = dict[tuple[str, LabelSet], float]
"""Samples by name and labels; empty labels are left out, as Prometheus does."""

_DURATION = catalog.DELIVERY_DURATION.name
_OF_TRUTH = {
    "sent": catalog.SENT,
    "settled": catalog.MESSAGES,
    "unresolved": catalog.UNRESOLVED,
    "in_flight": catalog.IN_FLIGHT,
    "parts": catalog.PARTS,
    "cost": catalog.COST,
    "rejected": catalog.REJECTED,
}
TOLD_BY_TRUTH = (*(family.name for family in _OF_TRUTH.values()), f"{_DURATION}_count", f"{_DURATION}_sum")


def read_counts(page: str) -> Counts:
    """Every sample of a page in the text format."""
    return {
        (sample.name, _labels(sample.labels)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def true_counts(truth: Mapping[str, Any], account: str = "demo", channel: str = "instagram") -> Counts:
    """The samples that a scrape must show, from an answer of the sandbox's control endpoint `truth`."""
    feed = {"account": account, "channel": channel}
    counts: Counts = {}
    for name, family in _OF_TRUTH.items():
        for *labels, value in truth[name]:
            words = dict(zip(catalog.labels_of(family), labels, strict=True))
            counts[family.name, _labels(feed | words)] = float(Decimal(str(value)))
    for name, suffix, unit in (("deliveries", "count", 1), ("delivery_ms", "sum", 1000)):
        for status, value in truth[name]:
            counts[f"{_DURATION}_{suffix}", _labels(feed | {"general_status": status})] = value / unit
    return counts


def without(counts: Counts, label: str) -> Counts:
    """The sums over all values of a label."""
    sums: defaultdict[tuple[str, LabelSet], float] = defaultdict(float)
    for (name, labels), value in counts.items():
        sums[name, frozenset(pair for pair in labels if pair[0] != label)] += value
    return dict(sums)


def difference(shown: Counts, truth: Counts) -> list[str]:
    """What is shown wrongly, a line for each series."""
    return [
        f"{key[0]}{dict(key[1])}: shown {shown.get(key, 0)}, true {truth.get(key, 0)}"
        for key in sorted(shown.keys() | truth.keys(), key=str)
        if key[0] in TOLD_BY_TRUTH and shown.get(key, 0) != truth.get(key, 0)
    ]


def counters(counts: Counts) -> Iterator[tuple[tuple[str, LabelSet], float]]:
    for key, value in counts.items():
        if key[0].endswith(("_total", "_count", "_sum", "_bucket")) and key[0].startswith("infobip_"):
            yield key, value


def fallen(before: Counts, after: Counts) -> list[str]:
    """The counters that fell, or went away, between two scrapes."""
    return [
        f"{key[0]}{dict(key[1])}: from {value} to {after.get(key)}"
        for key, value in counters(before)
        if after.get(key, -1.0) < value
    ]


def unbalanced(counts: Counts) -> list[str]:
    """Where sent = settled + in flight + unresolved does not hold. Only of use while no series is held at zero."""
    balance: defaultdict[LabelSet, float] = defaultdict(float)
    for family, sign in (
        (catalog.SENT, 1),
        (catalog.MESSAGES, -1),
        (catalog.UNRESOLVED, -1),
        (catalog.IN_FLIGHT, -1),
    ):
        for (name, labels), value in counts.items():
            if name == family.name:
                kept = ("account", "channel", "entity_id", "application_id")
                balance[frozenset(pair for pair in labels if pair[0] in kept)] += sign * value
    return [f"{dict(labels)}: {off} too many sent" for labels, off in balance.items() if off]


def value(counts: Counts, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    wanted = _labels(labels)
    return sum(number for (each, own), number in counts.items() if each == name and wanted <= own)


def _labels(labels: Mapping[str, str]) -> LabelSet:
    return frozenset((name, text) for name, text in labels.items() if text)
