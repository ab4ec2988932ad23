"""In a crowd: a thousand slow clients, scrapes by the hundred, broken requests. Scrapes are answered and polls go on."""

from bench.crowd import scrapes_at_once, send_broken_requests, slow_clients
from bench.running import memory_mib
from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox, wait_for_truth

SLOW = 1000
AT_ONCE = 200
PATIENCE_S = 300.0
"""However busy the machine: `make bench` tells how fast it is."""
MEMORY_MIB = 64.0


def answers(address: tuple[str, int], at_once: int) -> None:
    """All scrapes of a round are answered; where the machine stood still meanwhile, those of one soon after."""
    until(
        lambda: all(each.answered for each in scrapes_at_once(address, at_once, PATIENCE_S)),
        PATIENCE_S,
    )


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
            for _ in range(20):
                answers(address, 1)
            answers(address, AT_ONCE)
            send_broken_requests(address, 5)
            answers(address, 1)
            polls = api.requests()
            until(lambda: api.requests() > polls + 3, PATIENCE_S)
            until(lambda: slow.dropped >= SLOW - 400, PATIENCE_S)  # Only so many are kept.
        assert memory_mib(exporter.pid, "VmHWM") - before_mib < MEMORY_MIB
        wait_for_truth(exporter, api)
        # What clients do wrong is not worth a line, or anybody could fill the disk with them.
        expected = ("level=info", "the API allows", "new ledger")
        assert [
            line for line in exporter.log.splitlines() if not any(each in line for each in expected)
        ] == []
