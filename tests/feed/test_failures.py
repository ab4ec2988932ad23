"""What the API can't answer: other time is read on time, and what can't be shown is reported."""

import asyncio
from collections.abc import Callable

import pytest

from infobip_exporter.infobip.query import Query
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_sandbox.quirks import Quirks
from tests.feed.living import BEGIN_MS, Living, message

LOG_KEEPS_S = LOG_KEEPS_MS / 1000


def covers(query: Query, at_s: float) -> bool:
    at_ms = BEGIN_MS + round(at_s * 1000)
    since_ms, until_ms = query.since_ms or 0, query.until_ms or at_ms + 1
    return since_ms <= at_ms < until_ms and not query.message_ids


@pytest.mark.parametrize("code", ["500", "timeout", "invalid_body", "429"])
def test_a_part_of_the_head_that_fails_is_read_when_it_can_be(code: str) -> None:
    async def live() -> None:
        feed = Living(page_limit=50)
        await feed.live(4)
        began_s = feed.now_s
        feed.send(*(message(f"m{n}", began_s + n / 5) for n in range(3000)))
        broken_s = began_s + 100
        feed.fails = lambda query: code if covers(query, broken_s) else ""
        await feed.live(10)
        assert feed.lag_s > feed.now_s - broken_s - 10
        if code != "429":
            assert feed.sent >= 5 * 240
        feed.fails = lambda _: ""
        await feed.live(40)
        assert feed.feed.snapshot.up
        assert feed.sent == 3000
        assert feed.lag_s < 60
        assert feed.lost_s() == 0

    asyncio.run(live())


def test_a_row_that_can_not_be_shown_keeps_no_other_from_being_counted() -> None:
    async def live() -> None:
        feed = Living(interval_s=300.0)
        feed.send(message("bad", 1155)._replace(unshowable=True))
        feed.send(*(message(f"m{n}", 1100 + 1.1 * n) for n in range(10_000)))
        await feed.live_for(1800)
        assert feed.sent >= (1800 - 100 - 2 * 300) / 1.1 - 2
        before = len(feed.queries)
        await feed.live_for(10_800)
        assert 9998 <= feed.sent <= 10_000
        assert len(feed.queries) - before < 6 * 10_800 / 300
        await feed.live_for(LOG_KEEPS_S - 3600)
        assert 0 < feed.lost_s() <= 2

    asyncio.run(live())


@pytest.mark.parametrize("takes_s", [0.2, 7.0, 29.0])
def test_no_request_is_sent_after_the_end_of_a_poll(takes_s: float) -> None:
    async def live() -> None:
        feed = Living(page_limit=50, takes_s=takes_s, lookback_s=900.0, budget=1000)
        feed.send(*(message(f"m{n}", n) for n in range(5000)))
        for _ in range(30):
            began_s, before = feed.clock.now_s, len(feed.queries)
            await feed.live(1)
            assert len(feed.queries) > before
            assert all(at_s < began_s + 30 for at_s, _ in feed.queries[before:])

    asyncio.run(live())


def always(code: str) -> Callable[[Living], Callable[[Query], str]]:
    return lambda _: lambda _: code


def now_and_then(code: str) -> Callable[[Living], Callable[[Query], str]]:
    return lambda feed: lambda _: code if len(feed.queries) % 3 else ""


def by(**parameters: bool) -> Callable[[Living], Callable[[Query], str]]:
    return lambda _: lambda query: "500" if bool(query.until_ms) == parameters["until"] else ""


@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(always("500"), id="nothing works"),
        pytest.param(always("401"), id="the key is refused"),
        pytest.param(always("429"), id="throttled"),
        pytest.param(now_and_then("500"), id="two of three fail"),
        pytest.param(by(until=False), id="reads up to now fail"),
        pytest.param(by(until=True), id="bounded reads fail"),
    ],
)
def test_a_poll_asks_and_is_well_only_if_it_learnt_something(
    fails: Callable[[Living], Callable[[Query], str]],
) -> None:
    async def live() -> None:
        feed = Living(page_limit=50, interval_s=400.0)
        await feed.live(2)
        began_s = feed.now_s
        feed.send(*(message(f"m{n}", began_s + n) for n in range(9000)))
        feed.fails = fails(feed)
        for _ in range(12):
            before, watermark_ms = len(feed.queries), feed.ledger.progress.watermark_ms
            await feed.live(1)
            assert len(feed.queries) > before
            if feed.feed.snapshot.up:
                assert feed.ledger.progress.watermark_ms > watermark_ms
        feed.fails = lambda _: ""
        await feed.live(20)
        assert feed.feed.snapshot.up
        assert feed.sent == 9000

    asyncio.run(live())


@pytest.mark.parametrize("budget", [1, 10])
def test_a_budget_smaller_than_the_polls_counts_what_it_can_read(budget: int) -> None:
    async def live() -> None:
        feed = Living(budget=budget, page_limit=50)
        feed.send(*(message(f"m{n}", 1000 + 3 * n) for n in range(700)))
        await feed.live(100)
        assert feed.sent == 700

    asyncio.run(live())


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(broken=("messageId",), broken_how="timeout"),
        Quirks(broken=("messageId",), broken_how="ignored", most_rows=50),
        Quirks(ids_heeded=1),
    ],
)
def test_lists_of_ids_that_do_not_work_are_given_up_and_messages_settle_by_range(quirks: Quirks) -> None:
    async def live() -> None:
        feed = Living(page_limit=100, quirks=quirks)
        feed.send(*(message(f"m{n}", 1100 + n / 2, settles_s=1200) for n in range(3000)))
        await feed.live_for(4500)
        assert (feed.sent, feed.settled) == (3000, 3000)
        assert sum(1 for _, query in feed.queries if query.message_ids) < len(feed.queries) / 4

    asyncio.run(live())


def test_a_list_of_ids_once_capped_grows_again() -> None:
    async def live() -> None:
        feed = Living(page_limit=200, quirks=Quirks(most_rows=50))
        feed.send(*(message(f"m{n}", 1100 + n / 2, settles_s=1800) for n in range(4000)))
        await feed.live_for(1200)
        feed.log.quirks = Quirks()
        await feed.live_for(3000)
        assert max(len(query.message_ids) for _, query in feed.queries[-200:]) > 49
        assert feed.settled == 4000

    asyncio.run(live())
