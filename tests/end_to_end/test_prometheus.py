"""A real Prometheus scrapes a real exporter: what `increase()` says of each counter is the truth, kill -9 or not."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerting.servers import HTTP, prometheus, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, counters, difference
from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, account, sandbox, wait_for_truth

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not on this machine"
)
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine"
)


class Scraper:
    """A running Prometheus and what it has stored."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **more: Any) -> list[dict[str, Any]]:
        answer = HTTP.get(f"{self.url}/api/v1/query", params={"query": query, **more}, timeout=20.0).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def newest_scrape_s(self) -> float:
        """When a target was last scraped; 0 before the first time."""
        return max((float(each["values"][-1][0]) for each in self.ask("up[10m]")), default=0.0)

    def has_begun(self) -> "Scraper":
        """Wait until it scrapes: it takes up to five seconds to find its targets, as long as a hold at zero lasts."""
        until(lambda: self.newest_scrape_s() > 0, 20)
        return self


@pytest.fixture
def scraper_of(tmp_path: Path) -> Iterator[Callable[[Exporter], Scraper]]:
    """A Prometheus that scrapes the exporter every second, from before that one has started."""
    ends = []

    def start(exporter: Exporter) -> Scraper:
        config = tmp_path / "prometheus.yml"
        target = {"job_name": "infobip", "static_configs": [{"targets": [exporter.address]}]}
        config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}))
        running = prometheus(config, tmp_path)
        url = running.__enter__()
        ends.append(running)
        return Scraper(url).has_begun()

    yield start
    for running in ends:
        running.__exit__(None, None, None)


def series_key(metric: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    labels = {name: text for name, text in metric.items() if name not in ("__name__", "instance", "job")}
    return metric["__name__"], frozenset(labels.items())


def increases(scraper: Scraper) -> tuple[Counts, list[str]]:
    """By series, what `increase()` says of everything stored of it; and the series that did not begin at zero.

    The range runs from the first sample to the last, so there is nothing to extrapolate.
    """
    found: Counts = {}
    late_starts = []
    stored = scraper.ask('{__name__=~"infobip_.*(_total|_count|_sum|_bucket)"}[1h]')
    names = {name for each in stored for name in each["metric"]} - {"__name__", "job"}
    for each in stored:
        (first_s, first), (last_s, last) = each["values"][0], each["values"][-1]
        key = series_key(each["metric"])
        if first != "0":
            late_starts.append(f"{key} began at {first}")
        selector = ",".join(f'{name}="{each["metric"].get(name, "")}"' for name in names)
        # The exact range in milliseconds; both of its ends belong to it in this version of Prometheus.
        range_ms = round(float(last_s) * 1000) - round(float(first_s) * 1000)
        asked = scraper.ask(f"increase({key[0]}{{{selector}}}[{range_ms}ms])", time=last_s)
        [result] = asked
        found[key] = float(result["value"][1])
        assert float(last) - float(first) == pytest.approx(found[key], rel=1e-12), key
    return found, late_starts


@needs_prometheus
def test_increase_over_a_run_with_a_kill_in_it_equals_the_truth(
    make_exporter: MakeExporter, scraper_of: Callable[[Exporter], Scraper]
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        scraper = scraper_of(exporter)
        api.lively_for(1, per_second=100)
        exporter.start(wait_until_ready=True)
        end_ms = api.lively_for(10, per_second=150)
        until(lambda: api.now_ms() > end_ms - 5000)
        exporter.kill()
        exporter.start()
        wait_for_truth(exporter, api)
        settled_s = time.time()
        until(lambda: scraper.newest_scrape_s() > settled_s + 1)
        truth = api.truth()
        found, late_starts = increases(scraper)
    assert late_starts == []
    assert difference(rounded(found | gauges_of(truth)), rounded(truth)) == []
    assert sum(number for _, number in counters(found)) > 1000


def rounded(counts: Counts) -> Counts:
    """To a millionth: Prometheus subtracts floats where the truth is exact."""
    return {key: round(number, 6) for key, number in counts.items()}


def gauges_of(truth: Counts) -> Counts:
    """The messages in flight: not counters, and compared elsewhere."""
    return {key: number for key, number in truth.items() if key[0] == "infobip_messages_in_flight"}


@needs_prometheus
def test_prometheus_asks_for_openmetrics_and_gzip_and_takes_what_it_gets(
    make_exporter: MakeExporter, scraper_of: Callable[[Exporter], Scraper]
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        scraper = scraper_of(exporter)
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=100)
        wait_for_truth(exporter, api)
        settled_s = time.time()
        until(lambda: scraper.newest_scrape_s() > settled_s + 1)
        [target] = HTTP.get(f"{scraper.url}/api/v1/targets").json()["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        [metadata] = (
            HTTP.get(f"{scraper.url}/api/v1/metadata", params={"metric": "infobip_messages"})
            .json()["data"]
            .values()
        )
        # In OpenMetrics a counter's metadata has the name without _total: it was OpenMetrics that was taken.
        assert metadata[0]["type"] == "counter"
        stored = {
            series_key(each["metric"]): float(each["value"][1])
            for each in scraper.ask('{__name__=~"infobip_.*"}')
        }
        assert difference(stored, api.truth()) == []


@needs_promtool
def test_promtool_has_nothing_to_say_about_a_live_scrape(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT, "--traffic", "bad_share=0.02") as api:
        exporter = make_exporter({"accounts": [account(api)], "metrics": {"zero_hold": "0s"}})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=100)
        until(lambda: "infobip_exporter_records_rejected_total{" in exporter.scrape())
        result = subprocess.run(
            ["promtool", "check", "metrics"],
            input=exporter.scrape(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_same_scrape_zipped_is_the_same_page(make_exporter: MakeExporter) -> None:
    with sandbox() as api:
        exporter = make_exporter({"accounts": [account(api)]})
        exporter.start(wait_until_ready=True)
        with HTTP.stream("GET", f"{exporter.url}/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            page = answer.read().decode()
        assert page.endswith("\n")
        assert "infobip_exporter_feed_info{" in page
