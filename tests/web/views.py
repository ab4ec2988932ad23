"""A view of a few feeds for the pages to be made from, and a client that asks for them without a network."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import httpx
from starlette.types import ASGIApp

from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.snapshot import FeedOwner, FeedSnapshot, Incident, PastIncident, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.series import Series

NOW_S = 1_772_366_405.0
"""2026-03-01 12:00:05 UTC."""

START = Moment(NOW_S, 1000.0)


class Client:
    """Asks an application as a browser or a scraper would. With `strict`, what the application raises is raised."""

    def __init__(self, app: ASGIApp, *, strict: bool = True) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=strict)

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://exporter") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)


@dataclass
class FakeView:
    feeds: list[FeedSnapshot]
    missing: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    elsewhere: int = 0
    owned: list[FeedOwner] | None = None
    moment: Moment = START
    hold_s: float = 60.0
    version: str = "1.2.3"
    docs_url: str = "https://docs.example/"
    process: Process = field(default_factory=Process)
    reloaded: Reloaded = field(default_factory=lambda: Reloaded(successful=True, success_s=NOW_S))

    def __post_init__(self) -> None:
        self.starts = {(feed.account, feed.channel): ZeroStart(self.hold_s, ()) for feed in self.feeds}

    def snapshots(self) -> list[FeedSnapshot]:
        return self.feeds

    def zero_starts(self) -> Mapping[tuple[str, str], ZeroStart]:
        return self.starts

    def standby(self) -> int:
        return self.elsewhere

    def owners(self) -> list[FeedOwner] | None:
        return self.owned

    def stalled(self) -> list[str]:
        return self.stuck

    def ready(self) -> list[str]:
        return self.missing

    def now(self) -> Moment:
        return self.moment


def lively(account: str = "main", channel: str = "instagram", **changes: object) -> FeedSnapshot:
    """A feed in good health with a day of traffic behind it; `changes` replace fields."""
    hour = int(NOW_S // 3600)
    by_hour = {
        hour - back: {
            "DELIVERED": 1200 + 40 * ((back * 7) % 24),
            "EXPIRED": 12,
            "REJECTED": 400 if back == 3 else 4,
            "UNDELIVERABLE": 30 + 5 * (back % 6),
        }
        for back in range(24)
    }
    fields: dict[str, object] = {
        "counters": {
            Series.of("infobip_messages_sent_total", entity_id="shop", application_id="web"): 1_234_567
        },
        "in_flight": {
            Series.of(
                "infobip_messages_in_flight", general_status="PENDING", entity_id="shop", application_id="web"
            ): 42
        },
        "up": True,
        "last_poll_s": NOW_S - 12,
        "last_success_s": NOW_S - 12,
        "read_up_to_ms": round((NOW_S - 14) * 1000),
        "requests_per_minute": 100.0,
        "requests_last_minute": 7,
        "clock_skew_s": 0.0,
        "by_hour": by_hour,
    }
    return FeedSnapshot(account, channel, **(fields | changes))  # type: ignore[arg-type]


def all_states() -> list[FeedSnapshot]:
    """One feed in each state: reading, catching up, waiting, refused, failing."""
    lost = {
        Series.of("infobip_messages_sent_total", entity_id="shop", application_id="web"): 98_765,
        Series.of("infobip_exporter_lost_seconds_total", reason="expired"): Decimal(5400),
    }
    return [
        lively(),
        lively(
            "main",
            "viber",
            backlog_ms=5 * 3600_000,
            requests_last_minute=100,
            counters=lost,
            last_incident=PastIncident("timeout: no answer within 30 s", NOW_S - 7230, NOW_S - 7200),
        ),
        FeedSnapshot("second account", "sms", requests_per_minute=100.0),
        lively(
            "second account",
            "rcs",
            up=False,
            last_success_s=NOW_S - 7200,
            read_up_to_ms=round((NOW_S - 7200) * 1000),
            incident=Incident(
                "401: the API does not accept the key; check api_key of account second account",
                NOW_S - 7190,
                refused=True,
            ),
            by_hour={},
        ),
        lively(
            "second account",
            "kakao-alim",
            up=False,
            last_success_s=NOW_S - 200,
            read_up_to_ms=round((NOW_S - 200) * 1000),
            incident=Incident("503: the API is not available; trying again in 40 s", NOW_S - 180),
        ),
    ]
