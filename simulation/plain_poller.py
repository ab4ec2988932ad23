"""What one writes in an hour to get the numbers into Prometheus, for `simulation.compare` to hold against the exporter.

Its author has thought of messages that turn up late and settle later: each poll reads a window that ended five minutes
ago, and counts each row once. A poll that fails is made up for by the next. Counters live in memory, as in most
exporters; Prometheus takes a restart for what it is.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

DELAY_MS = 300_000

Ask = Callable[[Mapping[str, str]], bytes]
"""GET the log with these parameters; the body. Raises OSError."""


class PlainPoller:
    """Counts messages by `generalStatus`. `ask` asks the API."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._read_until_ms: int | None = None
        self.messages_total: Counter[str] = Counter()

    def poll(self, now_ms: int, interval_ms: int) -> None:
        until_ms = now_ms - DELAY_MS
        since_ms = self._read_until_ms if self._read_until_ms is not None else until_ms - interval_ms
        try:
            body = self._ask(
                {"sentSince": _moment(since_ms), "sentUntil": _moment(until_ms), "limit": "1000"}
            )
        except OSError:
            return  # the next poll reads this window too
        for row in json.loads(body)["results"]:
            self.messages_total[row["status"]["groupName"]] += 1
        self._read_until_ms = until_ms


def _moment(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "+0000")
