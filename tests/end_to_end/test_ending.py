"""The exporter ends when it is told to, whatever it is waiting for."""

import signal
import time

import pytest

from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, account, sandbox


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
