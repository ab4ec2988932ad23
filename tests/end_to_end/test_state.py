"""A state that can't be used is told in a line; one that fails later loses nothing and comes back by itself.

On real disks and files; docs/when-things-go-wrong.md says it.
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
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
    REPOSITORY,
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


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """An API, and the state of an exporter that has counted all of it and was stopped."""
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = Exporter(tmp_path_factory.mktemp("counted"), {"accounts": [account(api)]})
        try:
            exporter.start(wait_until_ready=True)
            api.lively_for(2, per_second=50)
            wait_for_truth(exporter, api)
            assert exporter.stop() == 0
        finally:
            exporter.end_whatever_happens()
        yield api, exporter.state


@pytest.fixture
def api(counted: tuple[Sandbox, Path]) -> Sandbox:
    return counted[0]


@pytest.fixture
def stopped(counted: tuple[Sandbox, Path], make_exporter: MakeExporter) -> Exporter:
    """An exporter with a copy of that state, in a folder that holds nothing else."""
    exporter = make_exporter({})
    keep_state_at(exporter, exporter.folder / "own" / "state.db", counted)
    return exporter


@pytest.fixture
def running(api: Sandbox, stopped: Exporter) -> Exporter:
    stopped.start(wait_until_ready=True)
    wait_for_truth(stopped, api)
    return stopped


def keep_state_at(exporter: Exporter, place: Path, counted: tuple[Sandbox, Path] | None = None) -> None:
    """Have the state there, and in it what was counted."""
    exporter.state = place
    place.parent.mkdir(exist_ok=True)
    if counted is not None:
        shutil.copy(counted[1], place)
        os.sync()  # as the exporter would have done
        exporter.configure({"accounts": [account(counted[0])]})


def ends_with(exporter: Exporter, told: str, prefix: tuple[str, ...] = ()) -> None:
    """A start is refused in one line that says `told`."""
    config = exporter.config_file.read_text()
    exporter.config_file.write_text(
        config.replace("6000", "100")
    )  # or a line would warn of what the API allows
    code, said = run_to_its_end(exporter, prefix=prefix)
    exporter.config_file.write_text(config)
    assert code == 2, said
    [line] = said
    assert str(exporter.state) in line
    assert told in line


def starts_again(exporter: Exporter, api: Sandbox, before: Counts, prefix: tuple[str, ...] = ()) -> None:
    exporter.start(wait_until_ready=True, prefix=prefix)
    wait_for_truth(exporter, api)
    assert fallen(before, exporter.counts()) == []


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


# A start that is refused


def set_schema(state: Path, schema: int) -> None:
    with closing(sqlite3.connect(state)) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")


def overwrite(state: Path) -> None:
    state.write_bytes(state.read_bytes()[:PAGE] + os.urandom(state.stat().st_size - PAGE))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(lambda state: state.write_bytes(b"no database\n" * 1000), "another", id="another file"),
        pytest.param(lambda state: os.truncate(state, 5000), "backup", id="cut"),
        pytest.param(overwrite, "backup", id="overwritten"),
    ],
)
def test_a_damaged_state_is_told_in_a_line(
    stopped: Exporter, damage: Callable[[Path], object], told: str
) -> None:
    damage(stopped.state)
    ends_with(stopped, told)


def test_a_state_whose_cells_have_other_columns_is_refused_with_what_to_do(stopped: Exporter) -> None:
    with closing(sqlite3.connect(stopped.state)) as connection:
        connection.execute("ALTER TABLE cell DROP COLUMN uncounted")
    ends_with(stopped, "written by a version before the first release")


@pytest.mark.parametrize(
    ("schema", "told"),
    [(99, "written by a newer exporter (schema 99"), (0, "written by a version before the first release")],
)
def test_another_schema_is_refused_and_left_untouched(stopped: Exporter, schema: int, told: str) -> None:
    set_schema(stopped.state, schema)
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


def test_a_port_that_is_taken_is_told_in_a_line(stopped: Exporter) -> None:
    with socket.socket() as listener:
        host, port = stopped.address.split(":")
        listener.bind((host, int(port)))
        listener.listen()
        code, said = run_to_its_end(stopped)
        assert code == 2
        *_, line = said
        assert stopped.address in line


# Disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB, more than the state and its log ever take here. Needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes up all the room there is."""
    stuffing = folder / "stuffing"
    with stuffing.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return stuffing


def test_a_start_on_a_full_disk_is_told_in_a_line_and_leaves_the_counts_untouched(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    stuffing = fill(small_disk)
    stopped.state = small_disk / "state.db"
    stopped.configure({"accounts": [account(counted[0])]})
    ends_with(stopped, "make room on the disk")
    stuffing.unlink()
    keep_state_at(stopped, small_disk / "state.db", counted)
    stuffing = fill(small_disk)
    ends_with(stopped, "make room on the disk")
    ends_with(stopped, "a stopped one must be started")
    stuffing.unlink()
    starts_again(stopped, counted[0], {})


def test_a_full_disk_stops_the_counting_but_not_the_serving_until_there_is_room_again(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    keep_state_at(stopped, small_disk / "state.db", counted)
    starts_again(stopped, counted[0], {})
    before = stopped.counts()
    stuffing = fill(small_disk)
    stays_at(stopped, counted[0], before, "make room on the disk")
    stuffing.unlink()
    wait_for_truth(stopped, counted[0])
    assert fallen(before, stopped.counts()) == []
    assert stopped.log.count("make room on the disk") == 1
    assert "state works again" in stopped.log
    assert stopped.stop() == 0


@pytest.mark.skipif(shutil.which("mount") is None, reason="mount is not on this machine")
def test_a_state_on_a_read_only_disk_is_told_in_a_line_and_serves_again_later(
    counted: tuple[Sandbox, Path], stopped: Exporter, small_disk: Path
) -> None:
    keep_state_at(stopped, small_disk / "state.db", counted)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ends_with(stopped, "")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    starts_again(stopped, counted[0], {})


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
    counted: tuple[Sandbox, Path],
    stopped: Exporter,
    failing_disk: tuple[Path, Callable[[], None], Callable[[], None]],
) -> None:
    folder, fault, repair = failing_disk
    keep_state_at(stopped, folder / "state.db", counted)
    starts_again(stopped, counted[0], {})
    before = stopped.counts()
    fault()
    stays_at(stopped, counted[0], before, "state failed, retrying")
    assert "the exporter retries and resumes by itself" in stopped.log
    assert stopped.stop() == 0
    repair()
    starts_again(stopped, counted[0], before)


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


def test_a_state_is_shown_verified_and_backed_up_while_the_exporter_runs(
    api: Sandbox, running: Exporter, tmp_path: Path
) -> None:
    def state(*words: str) -> tuple[int, str]:
        # No configuration is read: a backup needs no key to be looked at.
        ran = subprocess.run(
            [sys.executable, "exporter.py", "state", *words],
            capture_output=True, text=True, cwd=REPOSITORY, timeout=30, check=False,
        )  # fmt: skip
        return ran.returncode, ran.stdout + ran.stderr

    url = f"--state.url=sqlite:///{running.state}"
    code, shown = state(url, "--state.format=json")
    assert code == 0, shown
    [feed] = json.loads(shown)["feeds"]
    assert feed["sent"] == value(running.counts(), SENT) > 0
    assert state("check", url) == (0, f"ok    {running.state}\n")
    backup = tmp_path / "backup.db"
    assert state("backup", str(backup), url)[0] == 0
    running.stop()
    before = exporter_counts(state(url, "--state.format=json")[1])
    # The backup in its place: nothing is missing.
    backup.replace(running.state)
    assert exporter_counts(state(url, "--state.format=json")[1]) == before
    starts_again(running, api, {})


def exporter_counts(shown: str) -> list[object]:
    return [(feed["sent"], feed["settled"], feed["in_flight"]) for feed in json.loads(shown)["feeds"]]
