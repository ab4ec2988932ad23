"""A state that can't be used is told in a line; one that fails later loses nothing and comes back by itself."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import fallen, value
from tests.end_to_end.programs import (
    NO_LIMIT,
    QUICK,
    REPOSITORY,
    account,
    run_to_its_end,
    sandbox,
    wait_for_truth,
)

SENT = "infobip_messages_sent_total"
MODEST = {"requests_per_minute": 100}
"""Within what the API allows: an exporter that is to say one line must not warn of this."""


def test_a_second_exporter_on_the_same_state_says_who_has_it_and_ends(make_exporter: MakeExporter) -> None:
    with sandbox() as api:
        first = make_exporter({"accounts": [account(api, **MODEST)]})
        first.start(wait_until_ready=True)
        second = make_exporter(
            {"accounts": [account(api, **MODEST)], "state": {"url": f"sqlite:///{first.state}"}}
        )
        code, said = run_to_its_end(second)
        assert code == 2
        [line] = said
        assert str(first.state) in line
        assert f"process {first.pid}" in line


def test_a_port_that_is_taken_is_told_in_a_line(make_exporter: MakeExporter) -> None:
    with sandbox() as api, socket.socket() as listener:
        exporter = make_exporter({"accounts": [account(api, **MODEST)]})
        host, port = exporter.address.split(":")
        listener.bind((host, int(port)))
        listener.listen()
        code, said = run_to_its_end(exporter)
        assert code == 2
        *_, line = said
        assert exporter.address in line


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda state: state.write_bytes(b"no database at all\n" * 1000), id="another file"),
        pytest.param(lambda state: os.truncate(state, 5000), id="cut"),
        pytest.param(
            lambda state: state.write_bytes(
                state.read_bytes()[:4096] + os.urandom(state.stat().st_size - 4096)
            ),
            id="overwritten",
        ),
    ],
)
def test_a_damaged_state_is_told_in_a_line(make_exporter: MakeExporter, damage: object) -> None:
    with sandbox(*NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api, **MODEST)]})
        exporter.start(wait_until_ready=True)
        assert exporter.stop() == 0
        damage(exporter.state)  # type: ignore[operator]
        code, said = run_to_its_end(exporter)
        assert code == 2, said
        [line] = said
        assert str(exporter.state) in line
        assert "backup" in line or "another" in line


def test_a_state_directory_that_is_not_there_is_told_in_a_line(make_exporter: MakeExporter) -> None:
    with sandbox() as api:
        exporter = make_exporter(
            {"accounts": [account(api, **MODEST)], "state": {"url": "sqlite:////nowhere/state.db"}}
        )
        code, said = run_to_its_end(exporter)
        assert code == 2
        [line] = said
        assert "/nowhere/state.db" in line


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


def test_a_first_start_on_a_full_disk_is_told_in_a_line(
    make_exporter: MakeExporter, small_disk: Path
) -> None:
    with sandbox(*NO_LIMIT) as api:
        exporter = make_exporter(
            {"accounts": [account(api, **MODEST)], "state": {"url": f"sqlite:///{small_disk / 'state.db'}"}}
        )
        fill(small_disk)
        code, said = run_to_its_end(exporter)
        assert code == 2, "\n".join(said)
        [line] = said
        assert "make room on the disk" in line


def test_a_start_on_a_disk_that_has_filled_up_leaves_the_counts_untouched(
    make_exporter: MakeExporter, small_disk: Path
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter(
            {"accounts": [account(api, **MODEST)], "state": {"url": f"sqlite:///{small_disk / 'state.db'}"}}
        )
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        before = exporter.counts()
        exporter.stop()
        stuffing = fill(small_disk)
        code, said = run_to_its_end(exporter)
        assert code == 2, "\n".join(said)
        [line] = said
        assert "make room on the disk" in line
        assert "a stopped one must be started" in line
        stuffing.unlink()
        exporter.start(wait_until_ready=True)
        wait_for_truth(exporter, api)
        assert fallen(before, exporter.counts()) == []


def test_a_full_disk_stops_the_counting_but_not_the_serving_until_there_is_room_again(
    make_exporter: MakeExporter, small_disk: Path
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter(
            {"accounts": [account(api)], "state": {"url": f"sqlite:///{small_disk / 'state.db'}"}}
        )
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        before = exporter.counts()
        stuffing = fill(small_disk)
        until(lambda: "make room on the disk" in exporter.log, 30.0)
        api.lively_for(2, per_second=50)
        until(lambda: api.now_ms() > api.quiet_from_ms)
        meanwhile = exporter.counts()
        assert fallen(before, meanwhile) == []
        assert value(meanwhile, SENT) == value(before, SENT)
        stuffing.unlink()
        wait_for_truth(exporter, api)
        assert fallen(meanwhile, exporter.counts()) == []
        assert exporter.log.count("make room on the disk") == 1
        assert "state works again" in exporter.log
        assert exporter.stop() == 0


@pytest.mark.skipif(shutil.which("mount") is None, reason="mount is not on this machine")
def test_a_state_on_a_read_only_disk_is_told_in_a_line_and_serves_again_later(
    make_exporter: MakeExporter, small_disk: Path
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter(
            {"accounts": [account(api, **MODEST)], "state": {"url": f"sqlite:///{small_disk / 'state.db'}"}}
        )
        exporter.start(wait_until_ready=True)
        assert exporter.stop() == 0
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        code, said = run_to_its_end(exporter)
        assert code == 2, said
        [line] = said
        assert str(small_disk / "state.db") in line
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        exporter.start(wait_until_ready=True)
        assert exporter.stop() == 0


def test_a_state_is_shown_verified_and_backed_up_while_the_exporter_runs(
    make_exporter: MakeExporter, tmp_path: Path
) -> None:
    def state(*words: str) -> tuple[int, str]:
        # No configuration is read: a backup needs no key to be looked at.
        ran = subprocess.run(
            [sys.executable, "exporter.py", "state", *words],
            capture_output=True, text=True, cwd=REPOSITORY, timeout=30, check=False,
        )  # fmt: skip
        return ran.returncode, ran.stdout + ran.stderr

    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        url = f"--state.url=sqlite:///{exporter.state}"
        code, shown = state(url, "--state.format=json")
        assert code == 0, shown
        [feed] = json.loads(shown)["feeds"]
        assert feed["sent"] == value(exporter.counts(), SENT) > 0
        assert state("check", url) == (0, f"ok    {exporter.state}\n")
        backup = tmp_path / "backup.db"
        assert state("backup", str(backup), url)[0] == 0
        exporter.stop()
        before = exporter_counts(state(url, "--state.format=json")[1])
        # The backup in its place: nothing is missing.
        backup.replace(exporter.state)
        assert exporter_counts(state(url, "--state.format=json")[1]) == before
        exporter.start(wait_until_ready=True)
        wait_for_truth(exporter, api)


def exporter_counts(shown: str) -> list[object]:
    return [(feed["sent"], feed["settled"], feed["in_flight"]) for feed in json.loads(shown)["feeds"]]


def test_a_state_removed_while_the_exporter_runs_is_written_anew_and_nothing_is_lost(
    make_exporter: MakeExporter,
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        for file in exporter.folder.glob("state.db*"):
            file.unlink()
        until(lambda: "state file was removed while in use, written again" in exporter.log, 30.0)
        before = exporter.counts()
        exporter.kill()
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=50)
        wait_for_truth(exporter, api)
        assert fallen(before, exporter.counts()) == []
