"""All of a configuration that one feed depends on."""

from dataclasses import dataclass

from infobip_exporter.config.schema import Metrics, Poll
from infobip_exporter.counting.caps import Caps
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics.catalog import Choice


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a configuration that one feed depends on."""

    account: str
    channel: str
    poll: Poll
    metrics: Metrics
    requests_per_minute: int
    filters: str = ""
    """Tells whether the account's filters have changed; holds none of their values."""
    log_failures: bool = False

    @property
    def name(self) -> str:
        return f"{self.account}/{self.channel}"


def caps_of(metrics: Metrics, ledger: Ledger) -> Caps:
    """The caps on labels and series, with those that the ledger has already."""
    return Caps(
        metrics.max_label_values,
        [*ledger.counters, *ledger.histograms, *ledger.in_flight],
        metrics.max_series,
        Choice(metrics.labels, metrics.duration_labels),
    )
