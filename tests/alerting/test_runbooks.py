"""Whoever is woken finds a page that helps."""

import re
from pathlib import Path

import pytest

from tests.alerting.promtool import check_queries
from tests.alerting.servers import needs
from tests.alerting.world import ALERTS, GROUPS, REPOSITORY
from tests.docs.pages import blocks

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
NAMES = sorted({alert["alert"] for alert in ALERTS})


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert [path.stem for path in PAGES] == NAMES


def test_all_links_to_runbooks_begin_alike_and_lead_to_their_page() -> None:
    links = {alert["annotations"]["runbook_url"].removesuffix(f"/{alert['alert']}.md") for alert in ALERTS}
    assert links == {"https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_runbook_tells_the_severity_what_it_means_what_to_look_at_and_what_to_do(path: Path) -> None:
    text = path.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What it means", "What to look at", "What to do"]
    told = set(re.findall(r"\*\*(critical|warning|none)\b", text, re.IGNORECASE))
    severities = {alert["labels"]["severity"] for alert in ALERTS if alert["alert"] == path.stem}
    assert {word.lower() for word in told} == severities


@needs("promtool")
def test_every_query_in_a_runbook_parses(tmp_path: Path) -> None:
    queries = [query for path in PAGES for query in blocks(path, "promql")]
    check_queries(queries, tmp_path)
    assert len(queries) >= len(PAGES) // 2


def test_recording_rules_are_named_level_metric_operation() -> None:
    records = [rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule]
    assert records == list(dict.fromkeys(records))
    for record in records:
        assert re.fullmatch(r"(global|feed(_[a-z]+)*):infobip_[a-z_0-9]+:[a-z0-9_]+", record), record


def test_what_pages_is_evaluated_as_often_as_prometheus_scrapes() -> None:
    intervals = {group["name"]: group["interval"] for group in GROUPS}
    assert intervals == {
        "infobip-current": "15s",
        "infobip-delivery": "15s",
        "infobip-delivery-long": "1m",
        "infobip-destinations": "1m",
        "infobip-usual": "5m",
        "infobip-delivery-alerts": "15s",
        "infobip-exporter-alerts": "15s",
    }


def test_every_alert_that_can_flap_keeps_firing_for_a_while() -> None:
    steady = {"ExporterDown", "FeedGone", "ExporterBehind", "ApiRefusing", "ConfigReloadFailed", "Watchdog"}
    """Over the moment they are over: no window that empties slowly."""
    assert {alert["alert"] for alert in ALERTS if "keep_firing_for" not in alert} == steady
