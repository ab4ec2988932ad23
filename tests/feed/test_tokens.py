"""A token endpoint that fails: an incident of its own, which takes nothing of the log's budget."""

import asyncio
from dataclasses import dataclass, field

from infobip_exporter.errors import TokenFailed
from infobip_exporter.metrics import catalog
from tests.feed.polling import Polling
from tests.feed.recording import row

REFUSED = TokenFailed("401", "client_id or client_secret is wrong", retry_after_s=40.0)


@dataclass
class WithTokens(Polling):
    failure: TokenFailed | None = None
    prepared_s: list[float] = field(default_factory=list)
    takes_s: float = 0.0

    async def prepare(self) -> None:
        self.prepared_s.append(self.clock.now_s)
        self.clock.now_s += self.takes_s
        if self.failure:
            raise self.failure


def test_without_a_token_nothing_is_asked_or_reserved_and_the_incident_says_so() -> None:
    async def live() -> None:
        feed = WithTokens()
        await feed.live(2)
        asked = len(feed.queries)
        began_s = feed.clock.now_s
        feed.records = [row(f"m{n}", began_s + n) for n in range(100)]
        feed.failure = REFUSED
        await feed.live(4)
        assert len(feed.queries) == asked
        shown = feed.feed.snapshot
        assert shown.requests_last_minute == 0
        assert shown.up is False
        assert shown.incident
        assert shown.incident.text == "token request: 401: client_id or client_secret is wrong"
        assert shown.incident.refused
        feed.failure = None
        await feed.live(3)
        assert feed.sent == 100
        assert feed.feed.snapshot.incident is None
        assert feed.feed.snapshot.up is True
        assert feed.recording.total(catalog.LOST) == 0
        assert feed.recording.total(catalog.REQUESTS, code="401") == 0

    asyncio.run(live())


def test_a_failing_endpoint_is_looked_at_every_five_seconds_for_another_client_secret() -> None:
    async def live() -> None:
        feed = WithTokens(failure=REFUSED)
        await feed.live(2)
        assert feed.queries == []
        gaps_s = {b - a for a, b in zip(feed.prepared_s, feed.prepared_s[1:], strict=False)}
        assert gaps_s == {5.0}
        assert feed.feed.answered

    asyncio.run(live())


def test_only_a_refusal_is_told_as_one() -> None:
    async def live() -> None:
        feed = WithTokens(failure=TokenFailed("503", "down", retry_after_s=2.0))
        await feed.live(1)
        assert feed.feed.snapshot.incident
        assert not feed.feed.snapshot.incident.refused

    asyncio.run(live())


def test_a_token_that_comes_after_the_poll_s_end_is_for_the_next_one() -> None:
    async def live() -> None:
        feed = WithTokens(takes_s=31.0)
        await feed.live(2)
        assert feed.queries == []
        feed.takes_s = 0.0
        await feed.live(1)
        assert feed.queries

    asyncio.run(live())
