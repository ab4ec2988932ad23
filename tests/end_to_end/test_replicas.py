"""Replicas on one PostgreSQL, with a real Prometheus that scrapes all of them: whatever fails, the counts go on."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infobip_sandbox.postgres import Postgres, postgres
from tests.alerting.servers import HTTP, free_address, prometheus, until
from tests.databases import needs_postgres, new_database
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, difference, fallen, value
from tests.end_to_end.programs import QUICK, REPOSITORY, Exporter, Sandbox, account, sandbox
from tests.end_to_end.test_prometheus import (
    Scraper,
    gauges_of,
    increases,
    needs_prometheus,
    rounded,
    series_key,
)
from tests.relay import Relay, database_relay, relay

LEASE_S = 3.0
POLL_S = 1.0
REQUESTS_PER_MINUTE = 600
RELABEL = yaml.safe_load((REPOSITORY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0][
    "metric_relabel_configs"
]
PER_SECOND = 60.0

pytestmark = [needs_postgres, needs_prometheus]


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
        accounts = [
            account(self.api, name=name, requests_per_minute=REQUESTS_PER_MINUTE)
            | ({"base_url": api_at} if api_at else {})
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
        self.api.lively_for(3, per_second=PER_SECOND)
        until(lambda: sent(first) > 20, 15)
        return first, second

    def relay(self, name: str) -> tuple[Relay, Path]:
        folder = self.folder / name
        return self.ends.enter_context(database_relay(folder, self.server.folder)), folder

    def takes_over(self, replica: Exporter, within_s: float = LEASE_S + POLL_S + 1.0) -> float:
        """Wait until it owns the feed; how long that took."""
        began_s = time.monotonic()
        until(lambda: owns(replica), within_s, 0.05)
        return time.monotonic() - began_s

    def comes_true(self, *shown_by: Exporter) -> None:
        """The counts are what was sent, each feed is shown once, no counter ever fell, nothing was asked too often."""
        self.api.lively_for(1, per_second=PER_SECOND)
        until(lambda: self.api.now_ms() > self.api.quiet_from_ms)
        deadline_s = time.monotonic() + 60
        while wrong := difference(together(shown_by), self.api.truth()):
            assert time.monotonic() < deadline_s, "\n".join(
                [*wrong, *(each.log[-2000:] for each in shown_by)]
            )
            time.sleep(0.3)
        settled_s = time.time()
        until(lambda: self.scraper.newest_scrape_s() > settled_s + 1)
        truth = self.api.truth()
        found, late_starts = stored_increases(self.scraper)
        assert late_starts == []
        assert difference(rounded(found | gauges_of(truth)), rounded(truth)) == []
        assert value(together(shown_by), "infobip_exporter_api_requests_total", code="429") == 0


def owned(counts: Counts) -> float:
    return value(counts, "infobip_exporter_feeds", state="owned")


def owns(replica: Exporter) -> bool:
    return owned(replica.counts()) > 0


def sent(replica: Exporter) -> float:
    return value(replica.counts(), "infobip_messages_sent_total")


def shows_feeds(replica: Exporter) -> bool:
    return "infobip_exporter_feed_info{" in replica.scrape()


def together(replicas: tuple[Exporter, ...]) -> Counts:
    """What all of them show. A series that two of them show is a failure."""
    merged: Counts = {}
    for replica in replicas:
        feeds = {key: number for key, number in replica.counts().items() if dict(key[1]).get("account")}
        assert not merged.keys() & feeds.keys(), "two replicas show the same series"
        merged |= feeds
    return merged


def stored_increases(scraper: Scraper) -> tuple[Counts, list[str]]:
    """As `increases`, for all series in one query: that it is what Prometheus says, one test shows."""
    found: Counts = {}
    late_starts = []
    for each in scraper.ask('{__name__=~"infobip_.*(_total|_count|_sum|_bucket)",account!=""}[1h]'):
        key = series_key(each["metric"])
        numbers = [float(number) for _, number in each["values"]]
        assert numbers == sorted(numbers), f"{key} fell: {numbers}"
        assert key not in found, f"{key} is there twice"
        found[key] = numbers[-1] - numbers[0]
        if numbers[0]:
            late_starts.append(f"{key} began at {numbers[0]}")
    return found, late_starts


@pytest.fixture
def world(tmp_path: Path, make_exporter: MakeExporter, server: Postgres) -> Iterator[World]:
    with ExitStack() as ends:
        yield make_world(ends, tmp_path, make_exporter, server)


@pytest.fixture
def world_of_its_own(tmp_path: Path, make_exporter: MakeExporter) -> Iterator[World]:
    """With a server that may be stopped."""
    with ExitStack() as ends:
        server = ends.enter_context(postgres())
        yield make_world(ends, tmp_path, make_exporter, server)


def make_world(ends: ExitStack, folder: Path, make: MakeExporter, server: Postgres) -> World:
    limit = f"requests_per_minute={REQUESTS_PER_MINUTE}"
    api = ends.enter_context(sandbox(*QUICK, "--fault", limit))
    replicas = [make({}) for _ in range(3)]
    config = folder / "prometheus.yml"
    job = {
        "job_name": "infobip",
        "static_configs": [{"targets": [each.address for each in replicas[:2]]}],
        "metric_relabel_configs": RELABEL,
    }
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    scraper = Scraper(ends.enter_context(prometheus(config, folder))).has_begun()
    return World(api, server, new_database(server), folder, make, replicas, scraper, ends)


# What happens to a replica


def test_kill_of_the_owner(world: World) -> None:
    first, second = world.begin_two()
    world.api.lively_for(6, per_second=PER_SECOND)
    first.kill()
    world.takes_over(second)
    world.comes_true(second)
    found, _ = stored_increases(world.scraper)
    said, late_starts = increases(world.scraper)
    assert late_starts == []
    assert {key: said[key] for key in found} == found


def test_sigterm_hands_over_within_a_second(world: World) -> None:
    first, second = world.begin_two()
    world.api.lively_for(4, per_second=PER_SECOND)
    before = first.counts()
    began_s = time.monotonic()
    assert first.stop() == 0
    world.takes_over(second)
    assert time.monotonic() - began_s < 1.5  # the first's end is in it
    until(lambda: shows_feeds(second))
    assert fallen(feed_counts(before), feed_counts(second.counts())) == []
    world.comes_true(second)


def feed_counts(counts: Counts) -> Counts:
    return {key: number for key, number in counts.items() if dict(key[1]).get("account")}


def test_an_owner_that_was_frozen_wakes_up_and_neither_writes_nor_shows(world: World) -> None:
    first, second = world.begin_two()
    world.api.lively_for(8, per_second=PER_SECOND)
    first._process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    world.takes_over(second)
    until(lambda: sent(second) > 0)
    first._process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    until(lambda: "joining again as a new replica" in first.log, 10)
    assert not owns(first) or not owns(second)
    world.comes_true(first, second)


def test_feeds_are_divided_evenly_and_move_to_a_replica_that_comes(world: World) -> None:
    world.accounts = 5
    first = world.begin()
    until(lambda: owned(first.counts()) == 5, 10)
    second = world.begin()
    until(lambda: owned(second.counts()) == 2, 15)
    assert owned(first.counts()) == 3
    assert value(first.counts(), "infobip_exporter_feeds", state="standby") == 2
    page = HTTP.get(second.url).text
    assert page.count("(this one)") == 2
    for number in range(1, 5):
        assert f"other-{number} / instagram" in page
    first.stop()
    until(lambda: owned(second.counts()) == 5, 5)


# What happens to the database


def test_the_database_is_restarted(world_of_its_own: World) -> None:
    world = world_of_its_own
    first, second = world.begin_two()
    before = first.counts()
    world.api.lively_for(8, per_second=PER_SECOND)
    world.server.stop(at_once=True)
    time.sleep(1)
    assert fallen(feed_counts(before), feed_counts(first.counts())) == []  # the last counts stay
    requests = world.api.requests()
    time.sleep(LEASE_S + 1)
    assert world.api.requests() - requests <= 8  # nothing is asked, but for what was under way
    assert not shows_feeds(first)  # another replica might show newer ones
    assert not shows_feeds(second)
    world.server.start()
    until(lambda: owns(first) or owns(second), LEASE_S + POLL_S + 5)
    world.comes_true(first, second)


def test_the_database_fails_over_and_is_read_only_for_longer_than_a_lease(world_of_its_own: World) -> None:
    world = world_of_its_own
    first, second = world.begin_two()
    world.api.lively_for(LEASE_S + 4, per_second=PER_SECOND)
    world.server.run("ALTER SYSTEM SET default_transaction_read_only = on")
    world.server.run("SELECT pg_reload_conf()")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    world.server.run(cut)
    time.sleep(LEASE_S + 2)
    world.server.run("ALTER SYSTEM RESET default_transaction_read_only")
    world.server.run("SELECT pg_reload_conf()")
    world.server.run(cut)
    until(lambda: owns(first) or owns(second), LEASE_S + POLL_S + 5)
    assert "the database is read-only, as a standby is" in first.log
    world.comes_true(first, second)


def test_the_database_is_slow(world: World) -> None:
    slow, folder = world.relay("slow")
    first, second = world.begin_two(host=folder)
    slow.delay_s = 0.3
    world.api.lively_for(6, per_second=PER_SECOND)
    time.sleep(2 * LEASE_S)
    assert owns(first)  # slow is not dead
    world.comes_true(first, second)


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON feed EXECUTE FUNCTION full_disk();
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON replica EXECUTE FUNCTION full_disk();
"""


def test_the_database_is_full(world: World) -> None:
    first, second = world.begin_two()
    world.api.lively_for(8, per_second=PER_SECOND)
    world.server.run(FULL, world.database)
    time.sleep(LEASE_S + 2)
    assert "make room on the database's disk" in first.log
    world.server.run("DROP FUNCTION full_disk CASCADE", world.database)
    until(lambda: owns(first) or owns(second), LEASE_S + POLL_S + 5)
    world.comes_true(first, second)


def test_a_replica_that_is_cut_off_from_the_database_shows_nothing_and_comes_back(world: World) -> None:
    way, folder = world.relay("cut")
    first, second = world.begin_two(host=folder)
    world.api.lively_for(8, per_second=PER_SECOND)
    way.cut()
    world.takes_over(second)
    assert not shows_feeds(first)
    assert HTTP.get(f"{first.url}/-/ready").status_code == 200
    assert HTTP.get(f"{first.url}/-/healthy").status_code == 200
    time.sleep(3)
    way.mend()
    until(lambda: "state works again" in first.log, 10)
    world.comes_true(first, second)


def test_a_replica_that_is_cut_off_from_the_api_lets_the_other_try(world: World) -> None:
    host, _, port = free_address().rpartition(":")
    server = httpx.URL(world.api.base_url)
    way = world.ends.enter_context(relay((host, int(port)), (server.host, server.port or 80)))
    first, second = world.begin_two(api_at=f"http://{host}:{port}")
    world.api.lively_for(10, per_second=PER_SECOND)
    way.cut()
    world.takes_over(second, LEASE_S + 5 * POLL_S + 5)
    assert "API is not reached from here, other replicas may try" in first.log
    assert owned(first.counts()) == 0
    world.comes_true(first, second)


# Versions and clocks

NEXT_VERSION = """
import sys
from infobip_exporter.ledger import postgres_schema
postgres_schema.MIGRATIONS += (("ALTER TABLE feed ADD COLUMN note text NOT NULL DEFAULT ''",),)
from infobip_exporter.cli import main
sys.exit(main(sys.argv[1:]))
"""
AN_HOUR_AHEAD = """
import sys, time
true = time.time
time.time = lambda: true() + 3600
from infobip_exporter.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_as(exporter: Exporter, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = exporter.command
    other = [command[0], "-c", script, *command[2:]]
    monkeypatch.setattr(
        Exporter, "command", property(lambda self: other if self is exporter else command_of(self))
    )


def command_of(exporter: Exporter) -> list[str]:
    return [*COMMAND.fget(exporter)]  # type: ignore[misc]


COMMAND = Exporter.command


def test_a_rolling_upgrade_that_migrates_the_tables(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_as(world.replicas[1], NEXT_VERSION, monkeypatch)
    first = world.begin()
    until(lambda: owns(first), 10)
    world.api.lively_for(6, per_second=PER_SECOND)
    until(lambda: sent(first) > 20, 15)
    second = world.begin()
    world.takes_over(second)
    until(lambda: "written by a newer exporter (schema 2, this one knows 1)" in first.log, 10)
    assert first.stop() == 0
    world.comes_true(second)


def test_clocks_an_hour_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_as(world.replicas[1], AN_HOUR_AHEAD, monkeypatch)
    first, second = world.begin_two()
    world.api.lively_for(4, per_second=PER_SECOND)
    first.kill()
    world.takes_over(second)
    world.comes_true(second)


# What is wrong from the start


def test_a_database_that_is_not_there_yet_is_waited_for(
    world_of_its_own: World,
) -> None:
    world = world_of_its_own
    world.server.stop()
    replica = world.replicas[0]
    replica.configure(world.config())
    replica.start()
    until(lambda: "the database can't be reached" in replica.log)
    answer = HTTP.get(f"{replica.url}/-/ready")
    assert (answer.status_code, answer.text) == (
        503,
        "infobip-exporter is not ready, not asked yet: the database\n",
    )
    world.server.start()
    until(lambda: owns(replica), 15)
    world.comes_true(replica)


def test_a_password_is_asked_for_and_never_shown(
    world_of_its_own: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of_its_own
    hba = world.server.folder / "data" / "pg_hba.conf"
    hba.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    world.server.run("SELECT pg_reload_conf()")
    world.server.run("CREATE ROLE infobip LOGIN PASSWORD 'open-sesame'")
    world.server.run("CREATE SCHEMA infobip AUTHORIZATION infobip", world.database)  # all that it needs
    place = f"{world.database}?host={world.server.folder}"
    replica = world.replicas[0]

    def said(url: str, **more: Any) -> str:
        replica.configure(world.config() | {"state": {"url": url, **more}})
        result = subprocess.run(
            replica.command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False
        )
        assert result.returncode == 2
        return result.stdout + result.stderr

    wrong = said(f"postgresql://infobip:wrong-word@/{place}")
    assert "password authentication failed" in wrong
    assert "PGPASSFILE or state.password_file" in wrong
    assert "wrong-word" not in wrong
    assert "no password supplied" in said(f"postgresql://infobip@/{place}")
    file = world.folder / "password"
    file.write_text("open-sesame\n")
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"postgresql://infobip:open-sesame@/{place}", {}),
        (f"postgresql://infobip@/{place}", {"password_file": str(file)}),
    ]
    for url, more in ways:
        replica.configure(world.config() | {"state": {"url": url, **more}})
        replica.start(wait_until_ready=True)
        until(lambda: owns(replica), 10)
        pages = "".join(HTTP.get(f"{replica.url}{path}").text for path in ("/", "/metrics", "/-/ready"))
        assert replica.stop() == 0
        assert "open-sesame" not in pages + replica.log
    monkeypatch.setenv("PGPASSWORD", "open-sesame")
    replica.configure(world.config() | {"state": {"url": f"postgresql://infobip@/{place}"}})
    replica.start(wait_until_ready=True)
