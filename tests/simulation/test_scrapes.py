"""The scraper of the simulation notices what a scraper must not see."""

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.model.series import Series
from simulation.scrapes import Scraper
from simulation.time import WorldTime
from simulation.violation import Violated

SENT = Series.of(catalog.SENT.name, entity_id="shop", application_id="web")


def ledger(released: Iterable[Series] = ()) -> Ledger:
    return cast("Ledger", SimpleNamespace(released=lambda: set(released), save_released=lambda _series: None))


def scraper(hold_s: float, released: Iterable[Series] = ()) -> Scraper:
    made = Scraper(WorldTime(1_790_000_000_000), hold_s)
    made.begin(ledger(released))
    return made


def shown(sent: int) -> FeedSnapshot:
    return FeedSnapshot("main", "instagram", counters={SENT: sent})


def test_a_series_is_followed_from_zero_to_its_real_value() -> None:
    watched = scraper(60)
    watched.scrape(shown(5))
    watched.time.advance(59)
    watched.save_released()
    watched.scrape(shown(6))
    watched.time.advance(2)
    watched.scrape(shown(7))
    assert [value for series, value in watched.shown.items() if series.startswith(SENT.family)] == [7]
    assert (watched.scrapes, watched.whole) == (3, 1)


def test_a_counter_that_falls() -> None:
    watched = scraper(0)
    watched.scrape(shown(5))
    with pytest.raises(Violated, match="fell from 5 to 4"):
        watched.scrape(shown(4))


def test_a_series_that_disappears() -> None:
    watched = scraper(0)
    watched.scrape(shown(5))
    with pytest.raises(Violated, match="not shown any more"):
        watched.scrape(replace(shown(5), counters={}))


def test_a_series_that_does_not_begin_at_0() -> None:
    watched = scraper(60, [SENT])
    with pytest.raises(Violated, match="shown at 5 at first, not at 0"):
        watched.scrape(shown(5))


def test_a_process_that_forgot_what_it_released() -> None:
    watched = scraper(60)
    watched.scrape(shown(5))
    watched.time.advance(59)
    watched.save_released()
    watched.time.advance(2)
    watched.scrape(shown(5))
    watched.begin(ledger())
    with pytest.raises(Violated, match="fell from 5 to 0"):
        watched.scrape(shown(5))
