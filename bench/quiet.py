"""Requests for a poll of a quiet account: a message every ten seconds, settling as messages do."""

import re
import subprocess
import sys
from pathlib import Path

from bench.figures import Figure
from bench.running import REPOSITORY, exporter_on, wait

POLLS = 30
GOAL = 1.0


def measure(folder: Path) -> list[Figure]:
    command = [sys.executable, "-m", "infobip_sandbox", "--rate=0.1", "--history-hours=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as sandbox:
        assert sandbox.stdout is not None
        url = sandbox.stdout.readline().split()[1]
        try:
            with exporter_on(
                url, folder / "quiet", lookback_s=0, interval="1s", requests_per_minute=100, key="sandbox-key"
            ) as exporter:
                wait(lambda: len(_polls(exporter.log)) > POLLS, 3.0 * POLLS)
                # The first poll asks once more: for the API's clock.
                polls = _polls(exporter.log)[1:]
        finally:
            sandbox.terminate()
    return [Figure(f"requests for a poll, over {len(polls)} polls", sum(polls) / len(polls), "", GOAL)]


def _polls(log: Path) -> list[int]:
    """The requests of each poll so far."""
    return [int(found) for found in re.findall(r"msg=poll .*\brequests=(\d+)", log.read_text())]
