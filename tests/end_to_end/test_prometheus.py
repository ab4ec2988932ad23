"""A real Prometheus scrapes a real exporter: what `increase()` says of each counter is the truth, kill -9 or not."""

import subprocess
from pathlib import Path

from tests.alerting.servers import HTTP, needs, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import counters, difference
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox, wait_for_truth
from tests.end_to_end.scraper import increases, rounded, scraping, series_key


@needs("prometheus")
def test_increase_over_a_run_with_a_kill_in_it_equals_the_truth(
    make_exporter: MakeExporter, tmp_path: Path
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        with scraping(tmp_path, [exporter.address]) as scraper:
            api.lively_for(1, per_second=100)
            exporter.start(wait_until_ready=True)
            end_ms = api.lively_for(10, per_second=150)
            until(lambda: api.now_ms() > end_ms - 5000)
            exporter.kill()
            exporter.start()
            wait_for_truth(exporter, api)
            scraper.catch_up()
            found, late_starts = increases(scraper, as_prometheus_says=True)
        assert late_starts == []
        assert difference(rounded(found), rounded(api.truth())) == []
        assert sum(number for _, number in counters(found)) > 1000


@needs("prometheus")
def test_prometheus_asks_for_openmetrics_and_gzip_and_takes_what_it_gets(
    make_exporter: MakeExporter, tmp_path: Path
) -> None:
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = make_exporter({"accounts": [account(api)]})
        with scraping(tmp_path, [exporter.address]) as scraper:
            exporter.start(wait_until_ready=True)
            api.lively_for(2, per_second=100)
            wait_for_truth(exporter, api)
            scraper.catch_up()
            [target] = HTTP.get(f"{scraper.url}/api/v1/targets").json()["data"]["activeTargets"]
            asked = {"metric": "infobip_messages"}
            told = HTTP.get(f"{scraper.url}/api/v1/metadata", params=asked).json()["data"]
            stored = scraper.ask('{__name__=~"infobip_.*"}')
        assert (target["health"], target["lastError"]) == ("up", "")
        # In OpenMetrics a counter's metadata has the name without _total: it was OpenMetrics that was taken.
        [[metadata]] = told.values()
        assert metadata["type"] == "counter"
        counts = {series_key(each["metric"]): float(each["value"][1]) for each in stored}
        assert difference(counts, api.truth()) == []


@needs("promtool")
def test_promtool_has_nothing_to_say_about_a_live_scrape(make_exporter: MakeExporter) -> None:
    with sandbox(*QUICK, *NO_LIMIT, "--traffic", "bad_share=0.02") as api:
        exporter = make_exporter({"accounts": [account(api)], "metrics": {"zero_hold": "0s"}})
        exporter.start(wait_until_ready=True)
        api.lively_for(2, per_second=100)
        until(lambda: "infobip_exporter_records_rejected_total{" in exporter.scrape())
        command = ["promtool", "check", "metrics"]
        page = exporter.scrape()
        result = subprocess.run(command, input=page, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
