"""A state that can't be used is told in a line; one that fails later loses nothing and comes back by itself.

On real files; docs/when-things-go-wrong.md says it.
"""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from infobip_exporter.ledger import inspect, sqlite_contents
from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import fallen, value
from tests.end_to_end.programs import NO_LIMIT, Exporter, Sandbox, account, run, sandbox, wait_for_truth
from tests.end_to_end.states import SENT, UP, ends_with, starts_again, stays_at

PAGE = 4096
NOBODY = 65534
WITHOUT_ROOTS_RIGHTS = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
"""Root without the right to open every file is a user like any other."""


@pytest.fixture
def api(counted: tuple[Sandbox, Path]) -> Sandbox:
    return counted[0]


@pytest.fixture
def running(api: Sandbox, stopped: Exporter) -> Exporter:
    stopped.start(wait_until_ready=True)
    wait_for_truth(stopped, api)
    return stopped


# A start that is refused


def test_damaged_pages_are_told_in_a_line(stopped: Exporter) -> None:
    size = stopped.state.stat().st_size
    stopped.state.write_bytes(stopped.state.read_bytes()[:PAGE] + os.urandom(size - PAGE))
    ends_with(stopped, "backup")


def change(state: Path, statement: str) -> None:
    with closing(sqlite3.connect(state)) as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(lambda state: state.write_bytes(b"no database\n" * 1000), "another", id="another file"),
        pytest.param(lambda state: os.truncate(state, 5000), "backup", id="cut"),
        pytest.param(
            lambda state: change(state, "ALTER TABLE cell DROP COLUMN uncounted"),
            "written by a version before the first release",
            id="other columns",
        ),
        pytest.param(
            lambda state: change(state, "PRAGMA user_version = 0"),
            "written by a version before the first release",
            id="older",
        ),
        pytest.param(
            lambda state: change(state, "PRAGMA user_version = 99"),
            "written by a newer exporter (schema 99",
            id="newer",
        ),
    ],
)
def test_a_state_that_can_not_be_used_is_told_and_left_untouched(
    stopped: Exporter, damage: Callable[[Path], object], told: str
) -> None:
    damage(stopped.state)
    held = stopped.state.read_bytes()
    ends_with(stopped, told)
    assert stopped.state.read_bytes() == held


@pytest.mark.parametrize(
    ("file", "mode", "told"),
    [
        pytest.param("state.db", 0o000, "check that the directory exists", id="not readable"),
        pytest.param("state.db", 0o444, "give this user write access to the file", id="not writable"),
        pytest.param("state.db.lock", 0o444, "can't write", id="the lock of another user"),
        pytest.param("", 0o555, "check that the directory exists", id="the directory of another user"),
    ],
)
def test_a_state_of_another_owner_is_told_and_left_untouched(
    api: Sandbox, stopped: Exporter, file: str, mode: int, told: str
) -> None:
    if file:
        stopped.state.with_name("state.db.lock").touch()
    other = stopped.state.parent / file
    held = stopped.state.read_bytes()
    was = other.stat()
    other.chmod(mode)
    if os.geteuid() == 0:
        os.chown(other, NOBODY, NOBODY)
    ends_with(stopped, told, WITHOUT_ROOTS_RIGHTS)
    assert stopped.state.read_bytes() == held
    for each in (other, *stopped.state.parent.glob("state.db-*")):  # as the line says: those beside it, too
        each.chmod(was.st_mode)
        if os.geteuid() == 0:
            os.chown(each, was.st_uid, was.st_gid)
    starts_again(stopped, api, {}, WITHOUT_ROOTS_RIGHTS)


def test_a_state_directory_that_is_not_there_is_told_in_a_line(api: Sandbox, stopped: Exporter) -> None:
    stopped.state = Path("/nowhere/state.db")
    stopped.configure({"accounts": [account(api)]})
    ends_with(stopped, "check that the directory exists")


# Files that change under a running exporter


def test_a_removed_directory_is_told_and_made_again_nothing_is_lost(api: Sandbox, running: Exporter) -> None:
    before = running.counts()
    shutil.rmtree(running.state.parent)
    stays_at(running, api, before, "check that the directory exists")
    running.state.parent.mkdir()
    wait_for_truth(running, api)
    running.kill()
    starts_again(running, api, before)


def test_a_state_removed_while_the_exporter_runs_is_written_anew_and_nothing_is_lost(
    api: Sandbox, running: Exporter
) -> None:
    for file in running.state.parent.glob("state.db*"):
        file.unlink()
    until(lambda: "state file was removed while in use, written again" in running.log, 30.0)
    before = running.counts()
    running.kill()
    api.lively_for(1, per_second=50)
    starts_again(running, api, before)


def test_a_file_moved_into_the_place_of_the_state_is_told_and_left_alone(
    api: Sandbox, running: Exporter
) -> None:
    before = running.counts()
    away = running.state.with_name("away.db")
    running.state.rename(away)
    running.state.write_bytes(b"another")
    stays_at(running, api, before, "state.db was replaced while in use")
    assert running.state.read_bytes() == b"another"
    away.replace(running.state)
    wait_for_truth(running, api)
    assert fallen(before, running.counts()) == []


def test_of_two_processes_one_counts_even_when_the_lock_file_is_removed(
    api: Sandbox, running: Exporter, make_exporter: MakeExporter
) -> None:
    before = running.counts()
    lock = running.state.with_name("state.db.lock")
    lock.unlink()
    until(lock.exists)
    other = make_exporter({})
    other.state = running.state
    other.configure({"accounts": [account(api)]})
    ends_with(other, f"in use by process {running.pid}")
    # The second is quicker than the next commit of the first.
    stop = running.pid
    os.kill(stop, signal.SIGSTOP)
    lock.unlink()
    other.start()
    os.kill(stop, signal.SIGCONT)
    stays_at(running, api, before, f"in use by process {other.pid}")
    wait_for_truth(other, api)
    other.stop()
    until(lambda: "another exporter has written to it: restart" in running.log, 30.0)
    assert value(running.counts(), SENT) == value(before, SENT)
    running.stop()
    starts_again(running, api, before)


def test_a_damaged_page_stops_the_account_that_needs_it_and_no_other(make_exporter: MakeExporter) -> None:
    # All stay in flight: those of the first account fill several pages, of which the oldest is damaged.
    slow = ("--traffic", "settle_median_s=100000", "--traffic", "late_max_ms=1900")
    accounts = ("--account", "one:key-of-one", "--account", "two:key-of-two")
    with sandbox(*slow, *NO_LIMIT, *accounts) as api:
        one, two = (
            account(api, name=name, api_key=f"key-of-{name}", requests_per_minute=600)
            for name in ("one", "two")
        )
        exporter = make_exporter({"accounts": [one, two]})
        exporter.start(wait_until_ready=True)
        api.lively_for(12, per_second=500, account="one")
        api.lively_for(3, per_second=30, account="two")
        for name in ("one", "two"):
            wait_for_truth(exporter, api, name, "instagram")
        backup = exporter.folder / "backup.db"
        sqlite_contents.back_up(exporter.state, backup)
        before = exporter.counts()
        damage_oldest_messages(exporter.state)
        stays_at(exporter, api, before, "the file is damaged: run state check", name="one")
        assert exporter.log.count("state failed") == 1
        sent = value(before, SENT, account="two")
        api.lively_for(1, per_second=30, account="two")
        until(lambda: value(exporter.counts(), SENT, account="two") > sent)
        assert value(exporter.counts(), UP, account="two") == 1
        with sqlite_contents.reading(exporter.state) as contents:
            assert list(inspect.findings(contents)) != []
        assert exporter.stop() == 0
        for beside in exporter.folder.glob("state.db-*"):
            beside.unlink()
        backup.replace(exporter.state)
        exporter.start(wait_until_ready=True)
        for name in ("one", "two"):
            wait_for_truth(exporter, api, name, "instagram")
        assert fallen(before, exporter.counts()) == []


def damage_oldest_messages(state: Path) -> None:
    """Overwrite the first page that holds messages in flight of the first feed, and none of the second."""
    with closing(sqlite3.connect(state)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        rows = connection.execute(
            "SELECT feed_id, messages FROM in_flight ORDER BY feed_id, since_ms"
        ).fetchall()
    content = state.read_bytes()
    feeds: dict[int, set[int]] = {}
    for feed_id, messages in rows:
        feeds.setdefault(content.index(messages[:24]) // PAGE, set()).add(feed_id)
    first = min(feed_id for feed_id, _ in rows)
    page = next(page for page, of in feeds.items() if of == {first})
    with state.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xff" * PAGE)


def test_a_state_is_shown_verified_and_backed_up_while_the_exporter_runs(
    api: Sandbox, running: Exporter, tmp_path: Path
) -> None:
    # No configuration is read: a backup needs no key to be looked at.
    url = f"--state.url=sqlite:///{running.state}"

    def held() -> tuple[int, int, int]:
        code, shown = run("state", url, "--state.format=json")
        assert code == 0, shown
        [feed] = json.loads("\n".join(shown))["feeds"]
        return feed["sent"], feed["settled"], feed["in_flight"]

    assert held()[0] == value(running.counts(), SENT) > 0
    assert run("state", "check", url) == (0, [f"ok    {running.state}"])
    backup = tmp_path / "backup.db"
    assert run("state", "backup", str(backup), url)[0] == 0
    running.stop()
    before = held()
    # The backup in its place: nothing is missing.
    backup.replace(running.state)
    assert held() == before
    starts_again(running, api, {})
