"""Signals that come while the process is still starting: none is lost, and none kills what should live."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infobip_exporter.signals import TERMINATED, Signals
from tests.alerting.servers import free_address, until

ROOT = Path(__file__).parents[1]
PROGRAMS = {"exporter.py": (str(ROOT / "exporter.py"),), "-m infobip_exporter": ("-m", "infobip_exporter")}
DELAYS_MS = (0, 5, 20, 50, 100, 150, 200, 300)
AS_PID_1 = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")

Start = Callable[..., subprocess.Popen[bytes]]


def can_unshare() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*AS_PID_1, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program in a folder with a configuration, and comes back as soon as it catches SIGTERM."""
    (tmp_path / "config.yaml").write_text(
        "accounts: [{name: main, base_url: 'http://127.0.0.1:1', api_key: 0123456789}]\n"
        f"web: {{listen_address: '{free_address()}'}}\n"
    )
    started: list[subprocess.Popen[bytes]] = []

    def run(
        *arguments: str, program: str = "exporter.py", prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, *PROGRAMS[program], *arguments],
                cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip
        started.append(process)
        until(lambda: catches(pid_of(process, prefix), signal.SIGTERM), every_s=0.002)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def pid_of(process: subprocess.Popen[bytes], prefix: tuple[str, ...] = ()) -> int | None:
    """That of the exporter: under a `prefix` it is the child of what was started; None while there is none."""
    assert process.poll() is None, "it has ended by itself"
    if not prefix:
        return process.pid
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def catches(pid: int | None, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_signals_are_caught_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys, signal; before = set(sys.modules)\n"
        "import infobip_exporter.__main__; print(*sorted(set(sys.modules) - before))"
    )
    imported = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert imported.stdout.split() == [
        "infobip_exporter",
        "infobip_exporter.__main__",
        "infobip_exporter.signals",
    ]


@pytest.mark.parametrize(
    ("program", "delay_ms"),
    [
        *(("exporter.py", delay_ms) for delay_ms in DELAYS_MS),
        *(("-m infobip_exporter", ms) for ms in (0, 100)),
    ],
)
def test_sigterm_ends_a_process_that_is_still_starting(start: Start, delay_ms: int, program: str) -> None:
    process = start(program=program)
    time.sleep(delay_ms / 1000)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.skipif(not can_unshare(), reason="no process may have a pid namespace of its own here")
@pytest.mark.parametrize("delay_ms", [0, 50, 150, 300])
def test_so_it_does_the_first_process_of_a_container(start: Start, delay_ms: int) -> None:
    process = start(prefix=AS_PID_1)
    time.sleep(delay_ms / 1000)
    pid = pid_of(process, AS_PID_1)
    assert pid
    os.kill(pid, signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.skipif(not can_unshare(), reason="no process may have a pid namespace of its own here")
@pytest.mark.usefixtures("start")
def test_a_blocked_signal_that_comes_before_python_has_begun_is_heeded(
    tmp_path: Path,
) -> None:
    # As the image's entrypoint blocks it: the shell is the first process, signals itself, and becomes the exporter.
    blocked = ("env", "--block-signal=TERM", "sh", "-c", 'kill -TERM $$; exec "$@"', "sh")
    command = [*AS_PID_1, *blocked, sys.executable, *PROGRAMS["exporter.py"]]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("delay_ms", [0, 50, 150, 300])
def test_sighup_in_a_process_that_is_still_starting_reloads_the_configuration(
    start: Start, tmp_path: Path, delay_ms: int
) -> None:
    process = start()
    time.sleep(delay_ms / 1000)
    process.send_signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in (tmp_path / "log").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert (tmp_path / "log").read_text().count("configuration reloaded") == 1


def test_a_demo_that_is_ended_while_it_starts_leaves_nothing_behind(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    process = start("demo", f"--web.listen-address={free_address()}")
    until(lambda: any(folder.iterdir()), every_s=0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert list(folder.iterdir()) == []


def test_a_check_that_is_ended_is_no_success(start: Start) -> None:
    process = start("check")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == TERMINATED


def test_a_check_whose_terminal_is_closed_ends(start: Start) -> None:
    process = start("check")
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == -signal.SIGHUP


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Set up in this process; afterwards its handlers are what they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    caught = Signals()
    caught.catch()
    yield caught
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_end_that_is_asked_for_early_reaches_the_handler_that_is_set_later(signals: Signals) -> None:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert signals.end_wanted
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    until(lambda: bool(ending), every_s=0.01)
    assert ending == [signal.SIGTERM]


def test_a_command_that_did_not_finish_ends_with_the_signal_s_exit_code(signals: Signals) -> None:
    signals.end_at_once()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == TERMINATED == 143
    with pytest.raises(SystemExit):  # also when the signal came before the command was known
        signals.end_at_once()
