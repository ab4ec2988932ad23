"""A Prometheus that scrapes exporters every second, and what it has stored."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerting.servers import HTTP, prometheus, until
from tests.end_to_end.counts import Counts, LabelSet


class Scraper:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, path: str = "query", **more: Any) -> list[dict[str, Any]]:
        parameters = {"query": query, **more}
        answer = HTTP.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30.0).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def scraped_up_to_s(self) -> float:
        """When each of its targets has been scraped; 0 before the first time."""
        return min((float(each["values"][-1][0]) for each in self.ask("up[10m]")), default=0.0)

    def catch_up(self) -> None:
        """Wait until it has scraped what is shown now."""
        now_s = time.time()
        until(lambda: self.scraped_up_to_s() > now_s)


@contextmanager
def scraping(folder: Path, targets: Sequence[str], **job: Any) -> Iterator[Scraper]:
    """One that has begun: it takes up to five seconds to find its targets, as long as a hold at zero lasts."""
    config = folder / "prometheus.yml"
    job = {"job_name": "infobip", "static_configs": [{"targets": list(targets)}], **job}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    with prometheus(config, folder) as url:
        scraper = Scraper(url)
        until(lambda: scraper.scraped_up_to_s() > 0, 20)
        yield scraper


def series_key(metric: dict[str, str]) -> tuple[str, LabelSet]:
    labels = {name: text for name, text in metric.items() if name not in ("__name__", "instance", "job")}
    return metric["__name__"], frozenset(labels.items())


def increases(scraper: Scraper, *, as_prometheus_says: bool = False) -> tuple[Counts, list[str]]:
    """By counter of a feed, how much it grew over all that is stored of it; and those that did not begin at zero.

    `as_prometheus_says` also asks for each one's `increase()`, which must be the same. Its range runs from the first
    sample to the last, so there is nothing to extrapolate.
    """
    found: Counts = {}
    late_starts = []
    stored = scraper.ask('{__name__=~"infobip_.*(_total|_count|_sum|_bucket)",account!=""}[1h]')
    names = {name for each in stored for name in each["metric"]} - {"__name__", "job"}
    for each in stored:
        key = series_key(each["metric"])
        numbers = [float(number) for _, number in each["values"]]
        assert numbers == sorted(numbers), f"{key} fell: {numbers}"
        assert key not in found, f"{key} is there twice"
        found[key] = numbers[-1] - numbers[0]
        if numbers[0]:
            late_starts.append(f"{key} began at {numbers[0]}")
        if as_prometheus_says:
            first_s, last_s = float(each["values"][0][0]), each["values"][-1][0]
            selector = ",".join(f'{name}="{each["metric"].get(name, "")}"' for name in names)
            # The exact range in milliseconds; both of its ends belong to it in this version of Prometheus.
            range_ms = round(float(last_s) * 1000) - round(first_s * 1000)
            [said] = scraper.ask(f"increase({key[0]}{{{selector}}}[{range_ms}ms])", time=last_s)
            assert float(said["value"][1]) == pytest.approx(found[key], rel=1e-12), key
    return found, late_starts


def rounded(counts: Counts) -> Counts:
    """The counters, to a millionth: Prometheus subtracts floats where the truth is exact. Messages in flight are none."""
    return {key: round(number, 6) for key, number in counts.items() if key[0] != "infobip_messages_in_flight"}
