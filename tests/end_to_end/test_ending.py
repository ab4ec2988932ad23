"""The exporter ends when it is told to, whatever it is waiting for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.alerting.servers import HTTP, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, REPOSITORY, Exporter, account, sandbox


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_five_seconds_while_a_request_hangs(
    make_exporter: MakeExporter, number: signal.Signals
) -> None:
    with sandbox(*NO_LIMIT, "--fault", "timeout_after=1") as api:
        exporter = make_exporter({"accounts": [account(api)], "poll": {"timeout": "2m"}})
        exporter.start()
        until(lambda: api.requests() > 0)
        began = time.monotonic()
        assert exporter.stop(number) == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in exporter.log


def test_it_ends_within_five_seconds_in_the_middle_of_a_backlog(make_exporter: MakeExporter) -> None:
    with sandbox(*NO_LIMIT, "--rate=20") as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start()
        until(lambda: api.requests() > 5)
        began = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in exporter.log


HANGS = {
    "commit": """
from infobip_exporter.ledger.sqlite import SqliteStore
def hang(self, *_):
    with self._lock:
        told()
SqliteStore.commit = hang
""",
    "releases": """
from infobip_exporter.ledger.sqlite import SqliteStore
def hang(self, *_):
    with self._lock:
        told()
SqliteStore.save_released = hang
""",
    "look-up of a name": """
import socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda host, *a, **k: told() if host == "nowhere.example" else real(host, *a, **k)
""",
}
PROGRAM = """
import sys, time
from pathlib import Path
def told():
    Path({mark!r}).touch()
    time.sleep(60)
{hang}
from infobip_exporter.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("what", HANGS)
def test_it_ends_within_five_seconds_while_something_hangs_that_can_not_be_interrupted(
    make_exporter: MakeExporter, tmp_path: Path, what: str
) -> None:
    mark, program = tmp_path / "hangs", tmp_path / "program.py"
    program.write_text(PROGRAM.format(mark=str(mark), hang=HANGS[what]))
    with sandbox(*NO_LIMIT, "--rate=2") as api:
        of: dict[str, Any] = account(api)
        if what == "look-up of a name":
            of["base_url"] = "https://nowhere.example"
        exporter = make_exporter({"accounts": [of], "metrics": {"zero_hold": "1s"}})
        command = [sys.executable, str(program), f"--config.file={exporter.config_file}"]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
            try:
                until(lambda: scraped(exporter) and mark.exists())
                began = time.monotonic()
                process.terminate()
                assert process.wait(10) == 0
                assert time.monotonic() - began < 5
                assert process.stderr is not None
                assert "Traceback" not in process.stderr.read()
            finally:
                process.kill()


def scraped(exporter: Exporter) -> bool:
    try:
        return HTTP.get(f"{exporter.url}/metrics", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False
