"""Memory and disk with as many messages in the last 48 h as a large account sends."""

import time
from pathlib import Path

from bench.backlog import read_all
from bench.figures import Figure
from bench.log_server import PENDING_EVERY
from bench.running import running

HOURS = 47.0
"""An hour less than the log keeps, so that nothing leaves it while it is read."""
MEMORY_GOAL_MIB = 200.0
STATE_GOAL_BYTES = 8.0


def measure(folder: Path, messages: int) -> list[Figure]:
    with running(folder / "memory", messages=messages, hours=HOURS) as exporter:
        before_s = exporter.cpu_s()
        began = time.monotonic()
        read_all(exporter, messages, within_s=60.0 + messages / 10_000, every_s=2.0)
        cpu_s = exporter.cpu_s() - before_s
        took_s = time.monotonic() - began
        settled = messages - messages // PENDING_EVERY
        return [
            Figure("memory at its most (VmHWM)", exporter.memory_mib("VmHWM"), "MiB", MEMORY_GOAL_MIB),
            Figure("memory afterwards (VmRSS)", exporter.memory_mib("VmRSS"), "MiB", MEMORY_GOAL_MIB),
            Figure(
                "state on disk for a message of final time",
                exporter.state_bytes() / settled,
                "bytes",
                STATE_GOAL_BYTES,
            ),
            Figure("state on disk", exporter.state_bytes() / 1e6, "MB"),
            Figure("time to read it all", took_s, "s"),
            Figure("CPU on the way", cpu_s / messages * 1e6, "CPU s / million"),
        ]
