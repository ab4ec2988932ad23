"""A log output that can't be written stops neither the counting nor the end of the process."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import value
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox, wait_for_truth

CLOSED = ("sh", "-c", 'exec "$@" 2>&-', "sh")
"""Runs a command with its standard error closed."""


@contextmanager
def output(kind: str) -> Iterator[int | None]:
    """A descriptor that lines can't be written to; None where the command closes it by itself."""
    if kind == "closed":
        yield None
        return
    reading, writing = (-1, os.open("/dev/full", os.O_WRONLY)) if kind == "full disk" else os.pipe()
    if kind == "pipe without a reader":
        os.close(reading)
    if kind == "full pipe":
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    if kind == "full pipe":
        os.close(reading)


def test_feeds_count_on_and_end_though_their_logs_can_not_be_written(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api, ExitStack() as outputs:
        exporters = {
            kind: make_exporter({"accounts": [account(api)], "log": {"level": "debug"}})
            for kind in ("closed", "pipe without a reader", "full pipe", "full disk")
        }
        for kind, exporter in exporters.items():
            stderr = outputs.enter_context(output(kind))
            exporter.start(stderr=stderr, prefix=CLOSED if kind == "closed" else ())
        api.lively_for(2, per_second=50)
        for kind, exporter in exporters.items():
            wait_for_truth(exporter, api)
            dropped = value(exporter.counts(), "infobip_exporter_log_lines_dropped_total")
            # What waits for the pipe to be read is not dropped yet.
            assert dropped >= 1 or kind == "full pipe", kind
            began = time.monotonic()
            assert exporter.stop() == 0, kind
            assert time.monotonic() - began < 6, kind
