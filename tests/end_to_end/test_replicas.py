"""Replicas on one PostgreSQL, with a real Prometheus that scrapes all of them: whatever fails, the counts go on."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from infobip_sandbox.postgres import Postgres, postgres
from tests.alerting.servers import HTTP, free_address, needs, until
from tests.databases import needs_postgres
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import fallen, value
from tests.end_to_end.replicas import (
    LEASE_S,
    POLL_S,
    World,
    feed_counts,
    make_world,
    owned,
    owns,
    sent,
    shows_feeds,
)
from tests.end_to_end.scraper import increases
from tests.relay import relay

pytestmark = [needs_postgres, needs("prometheus")]


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


# What happens to a replica


def test_kill_of_the_owner(world: World) -> None:
    first, second = world.begin_two()
    world.lively_for(6)
    first.kill()
    world.takes_over(second)
    world.comes_true(second)
    increases(world.scraper, as_prometheus_says=True)


def test_sigterm_hands_over_at_once(world: World) -> None:
    first, second = world.begin_two()
    world.lively_for(4)
    before = first.counts()
    assert first.stop() == 0
    assert world.server.run("SELECT count(*) FROM replica", world.database) == [(1,)]  # No lease has to end.
    world.takes_over(second)
    until(lambda: shows_feeds(second))
    assert fallen(feed_counts(before), feed_counts(second.counts())) == []
    world.comes_true(second)


def test_an_owner_that_was_frozen_wakes_up_and_neither_writes_nor_shows(world: World) -> None:
    first, second = world.begin_two()
    world.lively_for(8)
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
    until(lambda: (owned(first.counts()), owned(second.counts())) == (3, 2), 15)
    assert value(first.counts(), "infobip_exporter_feeds", state="standby") == 2
    until(lambda: HTTP.get(second.url).text.count("(this one)") == 2)
    page = HTTP.get(second.url).text
    assert all(f"other-{number} / instagram" in page for number in range(1, 5))
    first.stop()
    until(lambda: owned(second.counts()) == 5, 5)


# What happens to the database


def test_the_database_is_restarted(world_of_its_own: World) -> None:
    world = world_of_its_own
    first, second = world.begin_two()
    before = first.counts()
    world.lively_for(8)
    world.server.stop(at_once=True)
    time.sleep(1)
    assert fallen(feed_counts(before), feed_counts(first.counts())) == []  # the last counts stay
    requests = world.api.requests()
    time.sleep(LEASE_S + 1)
    assert world.api.requests() - requests <= 8  # nothing is asked, but for what was under way
    assert not shows_feeds(first)  # another replica might show newer ones
    assert not shows_feeds(second)
    world.server.start()
    world.comes_back(first, second)


CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()", CUT)
WRITABLE = ("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()", CUT)
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON feed EXECUTE FUNCTION full_disk();
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON replica EXECUTE FUNCTION full_disk();
"""


@pytest.mark.parametrize(
    ("fail", "mend", "told"),
    [
        (READ_ONLY, WRITABLE, "the database is read-only, as a standby is"),
        ((FULL,), ("DROP FUNCTION full_disk CASCADE",), "make room on the database's disk"),
    ],
    ids=["fails over and is read-only", "is full"],
)
def test_the_database_can_not_be_written_for_longer_than_a_lease(
    fail: tuple[str, ...], mend: tuple[str, ...], told: str, world_of_its_own: World
) -> None:
    world = world_of_its_own
    first, second = world.begin_two()
    world.lively_for(LEASE_S + 4)
    for statement in fail:
        world.server.run(statement, world.database)
    time.sleep(LEASE_S + 2)
    until(lambda: told in first.log)
    for statement in mend:
        world.server.run(statement, world.database)
    world.comes_back(first, second)


def test_the_database_is_slow(world: World) -> None:
    slow, folder = world.relay("slow")
    first, second = world.begin_two(host=folder)
    slow.delay_s = 0.3
    world.lively_for(6)
    time.sleep(2 * LEASE_S)
    assert owns(first)  # slow is not dead
    world.comes_true(first, second)


def test_a_replica_that_is_cut_off_from_the_database_shows_nothing_and_comes_back(world: World) -> None:
    way, folder = world.relay("cut")
    first, second = world.begin_two(host=folder)
    world.lively_for(8)
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
    world.lively_for(10)
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


def test_a_rolling_upgrade_that_migrates_the_tables(world: World) -> None:
    world.replicas[1].program = ("-c", NEXT_VERSION)
    first = world.begin()
    until(lambda: owns(first), 10)
    world.lively_for(6)
    until(lambda: sent(first) > 20, 15)
    second = world.begin()
    world.takes_over(second)
    until(lambda: "written by a newer exporter (schema 2, this one knows 1)" in first.log, 10)
    assert first.stop() == 0
    world.comes_true(second)


def test_clocks_an_hour_apart(world: World) -> None:
    world.replicas[1].program = ("-c", AN_HOUR_AHEAD)
    first, second = world.begin_two()
    world.lively_for(4)
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

    def said(url: str) -> str:
        replica.configure(world.config() | {"state": {"url": url}})
        code, told = replica.run()
        assert code == 2
        return "\n".join(told)

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
