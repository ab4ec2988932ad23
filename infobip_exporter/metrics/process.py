"""prometheus_client's metrics of the process, the Python and its garbage collector, as the end of the page.

They are read from /proc by a dozen small reads, and after each of them a thread has to wait for its turn when another
one is busy: 5 ms by default. So a scrape takes what was read a moment ago instead of reading.
"""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics

REFRESH_S = 5.0
"""How old the figures of a process may get, in seconds."""


class Process:
    """The figures as last read by `refresh`, in both formats."""

    text: str
    open_metrics: str
    """Ends with the end of the page, `# EOF`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self.refresh()

    def refresh(self) -> None:
        """Read the figures anew. Any thread may do that."""
        self.text = generate_latest(self._registry).decode()
        self.open_metrics = str(generate_open_metrics(self._registry), "utf-8")  # type: ignore[no-untyped-call]
