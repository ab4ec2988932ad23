"""Other labels are chosen while messages are in flight."""

import asyncio

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.catalog import DEFAULT, Choice
from infobip_exporter.model.series import Series
from simulation.check import conserves
from tests.feed.recording import DELIVERED, PENDING, REJECTED, Recording, row

SPRING = (("campaign", "spring"),)
BY_CAMPAIGN = Choice(("campaign", "status"))


def test_totals_go_on_and_messages_leave_the_gauge_under_the_labels_they_were_counted_with() -> None:
    feed = Recording()

    async def live() -> None:
        await feed.read(0, 3600, [row("a", 1), row("b", 2, PENDING), row("c", 3, PENDING)], now_s=3600)
        before = dict(feed.ledger.counters)
        feed.start(BY_CAMPAIGN)
        after = [
            row("b", 2, DELIVERED._replace(on_request=SPRING)),
            row("d", 4, REJECTED._replace(on_request=SPRING)),
            row("e", 5, PENDING._replace(on_request=SPRING)),
        ]
        await feed.read(0, 3600, after, now_s=3700)
        for series, value in before.items():
            assert feed.ledger.counters[series] >= value

    asyncio.run(live())
    in_flight = {series.labels: messages for series, messages in feed.ledger.in_flight.items() if messages}
    assert in_flight == {
        (("general_status", "PENDING"), ("entity_id", "shop"), ("application_id", "web")): 1,
        (("general_status", "PENDING"), ("campaign", "spring")): 1,
    }
    assert feed.total(catalog.SENT, entity_id="shop") == 3
    assert feed.total(catalog.SENT, campaign="spring") == 2
    # b settles where it was sent, and under the status that is asked for by now.
    assert feed.total(catalog.MESSAGES, entity_id="shop", status="DELIVERED_TO_HANDSET") == 1
    assert feed.total(catalog.MESSAGES, campaign="spring") == 1
    conserves(feed.ledger.counters, feed.ledger.in_flight)


def test_messages_that_expire_are_unresolved_under_the_labels_they_were_counted_with() -> None:
    feed = Recording()

    async def live() -> None:
        await feed.read(0, 3600, [row("a", 1, PENDING)], now_s=3600)
        for choice in (BY_CAMPAIGN, DEFAULT, Choice(())):
            feed.start(choice)
            await feed.read(0, 3600, [row("a", 1, PENDING._replace(general_status="ACCEPTED"))], now_s=3600)

    asyncio.run(live())
    [series] = [series for series, messages in feed.ledger.in_flight.items() if messages]
    assert dict(series.labels) == {"general_status": "ACCEPTED", "entity_id": "shop", "application_id": "web"}
    assert feed.ledger.counters[Series.of(catalog.SENT.name, entity_id="shop", application_id="web")] == 1
