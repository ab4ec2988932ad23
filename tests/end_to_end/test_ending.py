"""The exporter ends when it is told to, whatever it is waiting for."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.servers import ready, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, Exporter, account, sandbox


def ends_in_time(exporter: Exporter, number: signal.Signals = signal.SIGTERM) -> None:
    began = time.monotonic()
    assert exporter.stop(number) == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in exporter.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_five_seconds_while_a_request_hangs(
    make_exporter: MakeExporter, number: signal.Signals
) -> None:
    with sandbox(*NO_LIMIT, "--fault", "timeout_after=1") as api:
        exporter = make_exporter({"accounts": [account(api)], "poll": {"timeout": "2m"}})
        exporter.start()
        until(lambda: api.requests() > 0)
        ends_in_time(exporter, number)


def test_it_ends_within_five_seconds_in_the_middle_of_a_backlog(make_exporter: MakeExporter) -> None:
    with sandbox(*NO_LIMIT, "--rate=20") as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start()
        until(lambda: api.requests() > 5)
        ends_in_time(exporter)


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
    mark = tmp_path / "hangs"
    with sandbox(*NO_LIMIT, "--rate=2") as api:
        of: dict[str, Any] = account(api)
        if what == "look-up of a name":
            of["base_url"] = "https://nowhere.example"
        exporter = make_exporter({"accounts": [of], "metrics": {"zero_hold": "1s"}})
        exporter.program = ("-c", PROGRAM.format(mark=str(mark), hang=HANGS[what]))
        exporter.start()
        # Series are released where they are scraped.
        until(lambda: ready(f"{exporter.url}/metrics") and mark.exists())
        ends_in_time(exporter)
