"""In a crowd: a thousand slow clients, scrapes by the hundred, broken requests. Scrapes are answered and polls go on."""

import time

from bench.crowd import scrape, scrapes_at_once, send_broken_requests, slow_clients
from bench.running import memory_mib
from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox, wait_for_truth

SLOW = 1000
AT_ONCE = 200
IN_TIME_S = 3.0
"""For one scrape on a busy test machine; Prometheus waits for 10 s."""
MEMORY_MIB = 64.0
LATEST_POLL_S = 4.0
"""Between polls a second apart, on a busy test machine."""


def test_in_a_crowd_scrapes_are_answered_memory_is_bounded_and_polls_go_on(
    make_exporter: MakeExporter,
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        host, _, port = exporter.address.partition(":")
        address = (host, int(port))
        api.lively_for(3, per_second=50)
        before_mib = memory_mib(exporter.pid, "VmRSS")
        with slow_clients(address, SLOW) as slow:
            polls_before, began = api.requests(), time.monotonic()
            for _ in range(20):
                one = scrape(address)
                assert one.answered
                assert one.took_s < IN_TIME_S
            assert sum(each.answered for each in scrapes_at_once(address, AT_ONCE)) == AT_ONCE
            send_broken_requests(address, 5)
            until(lambda: scrape(address).answered)
            until(lambda: time.monotonic() - began > 5)
            seconds = time.monotonic() - began
            assert api.requests() - polls_before >= seconds / LATEST_POLL_S
            assert slow.dropped >= SLOW - 400  # Only so many are kept.
        assert memory_mib(exporter.pid, "VmHWM") - before_mib < MEMORY_MIB
        wait_for_truth(exporter, api)
        # What clients do wrong is not worth a line, or anybody could fill the disk with them.
        expected = ("level=info", "the API allows", "new ledger")
        assert [
            line for line in exporter.log.splitlines() if not any(each in line for each in expected)
        ] == []
