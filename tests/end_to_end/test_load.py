"""In a crowd: a thousand slow clients, scrapes by the hundred, broken requests. Scrapes are answered and polls go on."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.crowd import scrape, scrapes_at_once, send_broken_requests, slow_clients
from bench.running import memory_mib
from tests.alerting.servers import until
from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, Sandbox, account, sandbox, wait_for_truth

SLOW = 1000
AT_ONCE = 200
IN_TIME_S = 3.0
"""For one scrape on a busy test machine; Prometheus waits for 10 s."""
MEMORY_MIB = 64.0
LATEST_POLL_S = 4.0
"""Between polls a second apart, on a busy test machine."""


class World:
    def __init__(self, api: Sandbox, exporter: Exporter) -> None:
        self.api = api
        self.exporter = exporter
        parts = urlsplit(exporter.url)
        self.address = (str(parts.hostname), int(parts.port or 0))

    def memory_mib(self, what: str) -> float:
        return memory_mib(self.exporter.pid, what)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = Exporter(tmp_path / "exporter", {"accounts": [account(api)]})
        try:
            exporter.start(wait_until_ready=True)
            yield World(api, exporter)
        finally:
            exporter.end_whatever_happens()


def test_in_a_crowd_scrapes_are_answered_memory_is_bounded_and_polls_go_on(world: World) -> None:
    world.api.lively_for(3, per_second=50)
    before_mib = world.memory_mib("VmRSS")
    with slow_clients(world.address, SLOW) as slow:
        polls_before, began = world.api.requests(), time.monotonic()
        for _ in range(20):
            one = scrape(world.address)
            assert one.answered
            assert one.took_s < IN_TIME_S
        all_at_once = scrapes_at_once(world.address, AT_ONCE)
        assert sum(each.answered for each in all_at_once) == AT_ONCE
        send_broken_requests(world.address, 5)
        until(lambda: scrape(world.address).answered)
        until(lambda: time.monotonic() - began > 5)
        seconds = time.monotonic() - began
        assert world.api.requests() - polls_before >= seconds / LATEST_POLL_S
        assert slow.dropped >= SLOW - 400  # Only so many are kept.
    assert world.memory_mib("VmHWM") - before_mib < MEMORY_MIB
    wait_for_truth(world.exporter, world.api)
    # What clients do wrong is not worth a line, or anybody could fill the disk with them.
    expected = ("the API allows", "new ledger")
    lines = [line for line in world.exporter.log.splitlines() if not any(each in line for each in expected)]
    assert [line for line in lines if "level=info" not in line] == []
