"""Everything the exporter shows is the truth, after lively traffic and after being killed in the middle of it."""

import random
import time

from tests.alerting.servers import until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, fallen, unbalanced, value
from tests.end_to_end.programs import NO_LIMIT, QUICK, Sandbox, account, sandbox, wait_for_truth

GROUPS = ("DELIVERED",) * 12 + ("REJECTED", "UNDELIVERABLE", "EXPIRED", "PENDING", "ACCEPTED", "WITHDRAWN")
ENTITIES = (("shop", "orders"), ("shop", "marketing"), ("bank", ""), ("", ""))


def post_backlog(to: Sandbox, messages: int, rng: random.Random) -> None:
    """Messages of all kinds, sent in the last half hour up to a minute ago."""
    now_ms = to.now_ms()
    given = []
    for number in range(messages):
        entity, application = rng.choice(ENTITIES)
        given.append(
            {
                "message_id": f"backlog-{number}",
                "sent_ms": now_ms - rng.randrange(60_000, 1_800_000),
                "group": rng.choice(GROUPS),
                "settles_after_ms": rng.randrange(1, 20_000),
                "price": rng.choice(("0.00787679", "0.15", "0", None)),
                "currency": rng.choice(("EUR", "USD")),
                "entity_id": entity,
                "application_id": application,
                "parts": rng.randrange(1, 4),
            }
        )
    to.control("POST", "messages", {"messages": given})


def test_after_lively_traffic_every_count_equals_the_truth(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT, "--traffic", "bad_share=0.02") as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        end_ms = api.lively_for(8, per_second=150)
        before: Counts = {}
        while api.now_ms() < end_ms:
            shown = exporter.counts()
            assert fallen(before, shown) == []
            before = shown
            time.sleep(0.1)
        wait_for_truth(exporter, api)
        shown = exporter.counts()
        assert unbalanced(shown) == []
        assert value(shown, "infobip_messages_sent_total") > 800
        assert value(shown, "infobip_exporter_records_rejected_total") > 5
        assert value(shown, "infobip_exporter_lost_seconds_total") == 0
        assert exporter.stop() == 0


def test_with_every_series_released_each_scrape_conserves_messages(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)], "metrics": {"zero_hold": "0s"}})
        exporter.start(wait_until_ready=True)
        end_ms = api.lively_for(4, per_second=200)
        scrapes = 0
        while api.now_ms() < end_ms + 3000:
            assert unbalanced(exporter.counts()) == []
            scrapes += 1
            time.sleep(0.02)
        assert scrapes > 30
        assert value(exporter.counts(), "infobip_messages_sent_total") > 300


def test_killed_again_and_again_while_it_reads_a_backlog_it_counts_everything_once(
    make_exporter: MakeExporter,
) -> None:
    rng = random.Random(5)
    with sandbox(*NO_LIMIT) as api:
        post_backlog(api, 60_000, rng)
        exporter = make_exporter({"accounts": [account(api)]})
        before: Counts = {}
        kills_while_reading = 0
        for _ in range(12):
            exporter.start()
            asked = api.requests()
            until(lambda asked=asked: api.requests() > asked, every_s=0.003)
            shown = exporter.counts()
            assert fallen(before, shown) == []
            kills_while_reading += value(shown, "infobip_exporter_backlog_seconds") > 0
            # A commit takes a few milliseconds; the restarts hit it at its beginning, in it and after it.
            exporter.kill_in_a_commit(after_s=rng.choice((0.0, 0.0005, 0.001, 0.002, 0.004, 0.05)))
            before = shown
        assert kills_while_reading >= 6
        exporter.start()
        assert fallen(before, exporter.counts()) == []
        wait_for_truth(exporter, api)
        assert value(exporter.counts(), "infobip_messages_sent_total") == 60_000
        assert unbalanced(exporter.counts()) == []
