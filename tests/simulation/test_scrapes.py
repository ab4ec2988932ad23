"""The scraper of the simulation notices what a scraper must not see."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import FeedSnapshot, Series
from simulation.scrapes import Scraper
from simulation.time import VirtualTime
from simulation.violation import Violated

SENT = Series(catalog.SENT.name, ("shop", "web"))
NO_MARKS = cast("Ledger", SimpleNamespace(marks=dict, save_marks=lambda _marks: None))


def scraper(hold_s: float) -> tuple[Scraper, VirtualTime]:
    time = VirtualTime(1_790_000_000_000, 1e9)
    made = Scraper(time, hold_s)
    made.begin(NO_MARKS)
    return made, time


def shown(sent: int) -> FeedSnapshot:
    return FeedSnapshot("main", "instagram", counters={SENT: sent})


def test_a_series_is_followed_from_zero_to_its_real_value() -> None:
    watched, time = scraper(60)
    watched.scrape(shown(5))
    time.advance(59)
    watched.save_marks()
    watched.scrape(shown(6))
    time.advance(2)
    watched.scrape(shown(7))
    assert [value for series, value in watched.shown.items() if series.startswith(SENT.family)] == [7]
    assert (watched.scrapes, watched.whole) == (3, 1)


def test_a_counter_that_falls_is_told() -> None:
    watched, _time = scraper(0)
    watched.scrape(shown(5))
    with pytest.raises(Violated, match="fell from 5 to 4"):
        watched.scrape(shown(4))


def test_a_series_that_is_gone_is_told() -> None:
    watched, _time = scraper(0)
    watched.scrape(shown(5))
    with pytest.raises(Violated, match="not shown any more"):
        watched.scrape(replace(shown(5), counters={}))


def test_a_process_that_forgot_what_it_released_is_told() -> None:
    watched, time = scraper(60)
    watched.scrape(shown(5))
    time.advance(59)
    watched.save_marks()
    time.advance(2)
    watched.scrape(shown(5))
    watched.begin(NO_MARKS)
    with pytest.raises(Violated, match="fell from 5 to 0"):
        watched.scrape(shown(5))
