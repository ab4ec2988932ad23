"""What happens to the counts when the state is in trouble, on real disks and files: docs/when-things-go-wrong.md says it."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infobip_exporter.ledger import inspect, sqlite_contents
from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, fallen, true_counts, value
from tests.end_to_end.programs import (
    NO_LIMIT,
    QUICK,
    Exporter,
    Sandbox,
    account,
    run_to_its_end,
    sandbox,
    wait_for_truth,
)

SENT = "infobip_messages_sent_total"
UP = "infobip_up"
PAGE = 4096
NOBODY = 65534
WITHOUT_ROOTS_RIGHTS = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
"""Root without the right to open every file is a user like any other."""


@pytest.fixture
def world(make_exporter: MakeExporter) -> Iterator[tuple[Sandbox, Exporter]]:
    """An exporter that has counted something, and runs."""
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api, requests_per_minute=100)]})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        yield api, exporter


def stays_at(exporter: Exporter, api: Sandbox, before: Counts, told: str, name: str = "demo") -> None:
    """New traffic is not counted, the old counts are served, and the trouble is told once."""
    until(lambda: told in exporter.log, 30.0)
    api.lively_for(1, per_second=50, account=name)
    until(lambda: api.now_ms() > api.quiet_from_ms)
    meanwhile = exporter.counts()
    assert fallen(before, meanwhile) == []
    assert value(meanwhile, SENT, account=name) == value(before, SENT, account=name) > 0
    assert value(meanwhile, UP, account=name) == 0
    assert exporter.log.count(told) == 1
    assert "feed crashed" not in exporter.log


def ends_with(exporter: Exporter, told: str, prefix: tuple[str, ...] = ()) -> None:
    """A start is refused in one line that says `told`."""
    code, said = run_to_its_end(exporter, prefix=prefix)
    assert code == 2, said
    [line] = said
    assert str(exporter.state) in line
    assert told in line


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None], Callable[[], None]]]:
    """An ext4 that turns read-only at a fault, as after a real one, with what brings that about and what repairs it."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    mount = ["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)]
    made = subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False)
    if made.returncode or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")

    def fault() -> None:
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(folder)], capture_output=True, text=True, check=True
        ).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")

    def repair() -> None:
        subprocess.run(["umount", str(folder)], check=True)
        subprocess.run(["fsck.ext4", "-p", "-f", str(image)], capture_output=True, check=False)
        subprocess.run(mount, check=True)

    yield folder, fault, repair
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not on this machine")
def test_a_disk_that_turns_read_only_stops_the_counting_but_not_the_serving(
    make_exporter: MakeExporter, failing_disk: tuple[Path, Callable[[], None], Callable[[], None]]
) -> None:
    folder, fault, repair = failing_disk
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.state = folder / "state.db"
        exporter.configure({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        before = exporter.counts()
        fault()
        stays_at(exporter, api, before, "state failed, retrying")
        assert "the exporter retries and resumes by itself" in exporter.log
        assert exporter.stop() == 0
        repair()
        exporter.start(wait_until_ready=True)
        wait_for_truth(exporter, api)
        assert fallen(before, exporter.counts()) == []


def test_a_removed_directory_is_told_and_made_again_nothing_is_lost(world: tuple[Sandbox, Exporter]) -> None:
    api, exporter = world
    exporter.stop()
    # In a folder of its own: that of the exporter holds its log, too.
    old, exporter.state = exporter.state, exporter.folder / "own" / "state.db"
    exporter.state.parent.mkdir()
    old.rename(exporter.state)
    exporter.configure({"accounts": [account(api)]})
    exporter.start(wait_until_ready=True)
    wait_for_truth(exporter, api)
    before = exporter.counts()
    shutil.rmtree(exporter.state.parent)
    stays_at(exporter, api, before, "check that the directory exists")
    exporter.state.parent.mkdir()
    wait_for_truth(exporter, api)
    exporter.kill()
    exporter.start(wait_until_ready=True)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


def test_a_file_moved_into_the_place_of_the_state_is_told_and_left_alone(
    world: tuple[Sandbox, Exporter],
) -> None:
    api, exporter = world
    before = exporter.counts()
    away = exporter.state.with_name("away.db")
    exporter.state.rename(away)
    exporter.state.write_bytes(b"another")
    stays_at(exporter, api, before, "state.db was replaced while in use")
    assert exporter.state.read_bytes() == b"another"
    away.replace(exporter.state)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


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
        until(lambda: api.now_ms() > api.quiet_from_ms)
        until(lambda: all(sent_are_right(exporter, api, name) for name in ("one", "two")), 30.0)
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
        until(lambda: all(sent_are_right(exporter, api, name) for name in ("one", "two")), 30.0)
        assert fallen(before, exporter.counts()) == []


def sent_are_right(exporter: Exporter, api: Sandbox, name: str) -> bool:
    truth = true_counts(api.control("GET", "truth", account=name, channel="instagram"), name)
    return value(exporter.counts(), SENT, account=name) == value(truth, SENT, account=name)


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
    world: tuple[Sandbox, Exporter], file: str, mode: int, told: str
) -> None:
    api, exporter = world
    before = exporter.counts()
    exporter.stop()
    old, exporter.state = exporter.state, exporter.folder / "own" / "state.db"
    exporter.state.parent.mkdir()
    old.rename(exporter.state)
    exporter.configure({"accounts": [account(api, requests_per_minute=100)]})
    exporter.state.with_name("state.db.lock").touch()
    other = exporter.state.parent / file
    if not file:
        exporter.state.with_name("state.db.lock").unlink()
    held = exporter.state.read_bytes()
    was = other.stat()
    other.chmod(mode)
    if os.geteuid() == 0:
        os.chown(other, NOBODY, NOBODY)
    ends_with(exporter, told, WITHOUT_ROOTS_RIGHTS)
    assert exporter.state.read_bytes() == held
    for each in (other, *exporter.state.parent.glob("state.db-*")):  # as the line says: those beside it, too
        each.chmod(was.st_mode)
        if os.geteuid() == 0:
            os.chown(each, was.st_uid, was.st_gid)
    exporter.start(wait_until_ready=True, prefix=WITHOUT_ROOTS_RIGHTS)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [(99, "written by a newer exporter (schema 99"), (0, "written by a version before the first release")],
)
def test_another_schema_is_refused_and_left_untouched(
    world: tuple[Sandbox, Exporter], schema: int, told: str
) -> None:
    api, exporter = world
    before = exporter.counts()
    exporter.stop()
    with closing(sqlite3.connect(exporter.state)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {schema}")
    held = exporter.state.read_bytes()
    ends_with(exporter, told)
    assert exporter.state.read_bytes() == held
    with closing(sqlite3.connect(exporter.state)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    exporter.start(wait_until_ready=True)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


def test_of_two_processes_one_counts_even_when_the_lock_file_is_removed(
    world: tuple[Sandbox, Exporter], make_exporter: MakeExporter
) -> None:
    api, exporter = world
    before = exporter.counts()
    lock = exporter.state.with_name("state.db.lock")
    lock.unlink()
    until(lock.exists)
    other = make_exporter({"accounts": [account(api, requests_per_minute=100)]})
    other.state = exporter.state
    other.configure({"accounts": [account(api, requests_per_minute=100)]})
    ends_with(other, f"in use by process {exporter.pid}")
    # The second is quicker than the next commit of the first.
    stop = exporter.pid
    os.kill(stop, 19)
    lock.unlink()
    other.start()
    os.kill(stop, 18)
    stays_at(exporter, api, before, f"in use by process {other.pid}")
    wait_for_truth(other, api)
    other.stop()
    until(lambda: "another exporter has written to it: restart" in exporter.log, 30.0)
    assert value(exporter.counts(), SENT) == value(before, SENT)
    exporter.stop()
    exporter.start(wait_until_ready=True)
    wait_for_truth(exporter, api)
