"""Replicas on one PostgreSQL, an API with traffic, and a Prometheus that scrapes them."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infobip_sandbox.postgres import Postgres
from tests.alerting.servers import until
from tests.databases import new_database
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, difference, value
from tests.end_to_end.programs import QUICK, REPOSITORY, Exporter, Sandbox, account, sandbox
from tests.end_to_end.scraper import Scraper, increases, rounded, scraping
from tests.relay import Relay, database_relay

LEASE_S = 3.0
POLL_S = 1.0
REQUESTS_PER_MINUTE = 600
RELABEL = yaml.safe_load((REPOSITORY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0][
    "metric_relabel_configs"
]


@dataclass
class World:
    """A sandbox with traffic, a database, replicas that are made one by one, and a Prometheus that scrapes two."""

    api: Sandbox
    server: Postgres
    database: str
    folder: Path
    make: Callable[[dict[str, Any]], Exporter]
    replicas: list[Exporter]
    scraper: Scraper
    ends: ExitStack
    accounts: int = 1

    def config(self, host: Path | None = None, api_at: str = "", **more: Any) -> dict[str, Any]:
        url = self.server.url(self.database)
        if host is not None:
            url = f"postgresql:///{self.database}?user=postgres&host={host}"
        of = {"requests_per_minute": REQUESTS_PER_MINUTE, "base_url": api_at or self.api.base_url}
        accounts = [
            account(self.api, name=name, **of)
            for name in ["demo", *(f"other-{number}" for number in range(1, self.accounts))]
        ]
        return {
            "accounts": accounts,
            "state": {"url": url, "lease": f"{LEASE_S:g}s"},
            "metrics": {"zero_hold": "5s"},
            **more,
        }

    def begin(self, **config: Any) -> Exporter:
        """Start the next replica and wait until it is ready."""
        replica = self.replicas[sum(each._process is not None for each in self.replicas)]
        replica.configure(self.config(**config))
        replica.start(wait_until_ready=True)
        return replica

    def begin_two(self, **of_first: Any) -> tuple[Exporter, Exporter]:
        """The first owns the feed, the second stands by."""
        first = self.begin(**of_first)
        until(lambda: owns(first), 10)
        second = self.begin()
        assert owned(second.counts()) == 0
        self.lively_for(3)
        until(lambda: sent(first) > 20, 15)
        return first, second

    def lively_for(self, seconds: float) -> None:
        self.api.lively_for(seconds, per_second=60.0)

    def comes_back(self, *replicas: Exporter) -> None:
        """Wait until one of the replicas owns the feed; then the counts are true."""
        until(lambda: any(map(owns, replicas)), LEASE_S + POLL_S + 10.0)
        self.comes_true(*replicas)

    def relay(self, name: str) -> tuple[Relay, Path]:
        folder = self.folder / name
        return self.ends.enter_context(database_relay(folder, self.server.folder)), folder

    def takes_over(self, replica: Exporter, within_s: float = LEASE_S + POLL_S + 10.0) -> float:
        """Wait until it owns the feed; how long that took."""
        began_s = time.monotonic()
        until(lambda: owns(replica), within_s, 0.05)
        return time.monotonic() - began_s

    def comes_true(self, *shown_by: Exporter) -> None:
        """The counts are what was sent, each feed is shown once, no counter ever fell, nothing was asked too often."""
        self.lively_for(1)
        until(lambda: self.api.now_ms() > self.api.quiet_from_ms)
        deadline_s = time.monotonic() + 60
        while wrong := difference(together(shown_by), self.api.truth()):
            assert time.monotonic() < deadline_s, "\n".join(
                [*wrong, *(each.log[-2000:] for each in shown_by)]
            )
            time.sleep(0.3)
        self.scraper.catch_up()
        found, late_starts = increases(self.scraper)
        assert late_starts == []
        assert difference(rounded(found), rounded(self.api.truth())) == []
        assert value(together(shown_by), "infobip_exporter_api_requests_total", code="429") == 0


def owned(counts: Counts) -> float:
    return value(counts, "infobip_exporter_feeds", state="owned")


def owns(replica: Exporter) -> bool:
    return owned(replica.counts()) > 0


def sent(replica: Exporter) -> float:
    return value(replica.counts(), "infobip_messages_sent_total")


def shows_feeds(replica: Exporter) -> bool:
    return "infobip_exporter_feed_info{" in replica.scrape()


def feed_counts(counts: Counts) -> Counts:
    return {key: number for key, number in counts.items() if dict(key[1]).get("account")}


def together(replicas: tuple[Exporter, ...]) -> Counts:
    """What all of them show. A series that two of them show is a failure."""
    merged: Counts = {}
    for replica in replicas:
        feeds = feed_counts(replica.counts())
        assert not merged.keys() & feeds.keys(), "two replicas show the same series"
        merged |= feeds
    return merged


def make_world(ends: ExitStack, folder: Path, make: MakeExporter, server: Postgres) -> World:
    limit = f"requests_per_minute={REQUESTS_PER_MINUTE}"
    api = ends.enter_context(sandbox(*QUICK, "--fault", limit))
    replicas = [make({}) for _ in range(3)]
    targets = [each.address for each in replicas[:2]]
    scraper = ends.enter_context(scraping(folder, targets, metric_relabel_configs=RELABEL))
    return World(api, server, new_database(server), folder, make, replicas, scraper, ends)
