"""Every panel's query on a real Prometheus, fed by the exporter: it works, shows something, and its figures are the truth."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infobip_sandbox.chain import configure
from tests.alerting import servers
from tests.alerting.dashboards import DASHBOARDS, queries, substituted
from tests.alerting.servers import HTTP, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, difference, without
from tests.end_to_end.programs import NO_LIMIT, account, sandbox

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not on this machine"
)

FASTER = 30
"""A scrape every half second."""

RANGE_S = 300
QUICK = (
    "--traffic", "settle_median_s=0.4", "--traffic", "settle_sigma=0.6", "--traffic", "late_max_ms=1900", "--traffic",
    "bad_share=0.02",
)  # fmt: skip

# What did not happen: nothing was lost, overflown, changed or left unresolved, no alert fired, and there was no last week;
# what is recorded by the hour, once a feed was current for an hour; what the audit needs more than minutes for.
EMPTY = {
    "infobip-cost: Cost of the hour before, $currency",
    "infobip-delivery: Firing alerts",
    "infobip-exporter: Firing alerts",
    "infobip-exporter: Verified up to",
    "infobip-exporter: Log lines dropped",
    "infobip-cost: Against last week",
    "infobip-delivery: Never resolved",
    "infobip-exporter: Label overflow",
    "infobip-exporter: Changed after final",
    "infobip-exporter: Lost",
}


class Asking:
    """Asks as Grafana does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def instant(self, expr: str) -> list[dict[str, Any]]:
        return self._get("query", query=substituted(expr, RANGE_S, "5s"))

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        now = time.time()
        return self._get(
            "query_range", query=substituted(expr, RANGE_S, "5s"), start=now - RANGE_S, end=now, step=1
        )

    def _get(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = HTTP.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30.0).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def figures(self, panel: str) -> dict[str, float]:
        """What a stat panel shows: by currency, or under "" where it is one figure. `panel` as in `queries()`."""
        (asked,) = [each for each in queries() if each.name == panel and each.instant]
        return {
            each["metric"].get("currency", ""): float(each["value"][1]) for each in self.instant(asked.expr)
        }


@pytest.fixture
def asking(make_exporter: MakeExporter, tmp_path: Path) -> Iterator[tuple[Asking, Counts]]:
    """A Prometheus that has seen all of some lively traffic, and the truth about it."""
    with sandbox(*QUICK, *NO_LIMIT) as api:
        metrics = {"labels": ["entity_id", "application_id", "campaign"], "zero_hold": "2s"}
        exporter = make_exporter({"accounts": [account(api)], "metrics": metrics})
        configs = configure(tmp_path, exporter.address, "127.0.0.1:9", "http://127.0.0.1:9", FASTER)
        with servers.prometheus(configs[0], tmp_path) as url:
            exporter.start(wait_until_ready=True)
            asking = Asking(url)
            api.lively_for(4, per_second=150)
            api.control("POST", "faults", {"script": ["500", "500"]})
            time.sleep(4)
            until(lambda: not difference(without(exporter.counts(), "campaign"), api.truth()), within_s=75)
            sent = sum(
                value for (name, _), value in api.truth().items() if name == "infobip_messages_sent_total"
            )
            until(lambda: asking.figures("infobip-delivery: Sent") == {"": sent}, within_s=15)
            time.sleep(1.5)  # two scrapes more, for the series that had not changed yet
            yield asking, api.truth()


def total(truth: Counts, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (each, own), value in truth.items() if each == name and wanted <= own)


def by_currency(truth: Counts, **labels: str) -> dict[str, float]:
    currencies = {dict(own).get("currency") for (name, own) in truth if name == "infobip_cost_total"}
    return {each: total(truth, "infobip_cost_total", currency=each, **labels) for each in currencies if each}


def test_every_query_works_and_every_figure_is_the_truth(asking: tuple[Asking, Counts]) -> None:
    grafana, truth = asking

    empty = set()
    for asked in queries():
        found = grafana.instant(asked.expr) if asked.instant else grafana.over_time(asked.expr)
        if not found:
            empty.add(asked.name)
    assert empty <= EMPTY
    for board in DASHBOARDS.values():
        for annotation in board["annotations"]["list"]:
            grafana.over_time(annotation["expr"])

    settled = total(truth, "infobip_messages_total")
    delivered = total(truth, "infobip_messages_total", general_status="DELIVERED")
    assert grafana.figures("infobip-delivery: Sent") == {"": total(truth, "infobip_messages_sent_total")}
    assert grafana.figures("infobip-delivery: Delivery rate") == {"": pytest.approx(delivered / settled)}
    for panel, status in (("Rejected", "REJECTED"), ("Undeliverable", "UNDELIVERABLE")):
        count = total(truth, "infobip_messages_total", general_status=status)
        assert count > 0
        assert grafana.figures(f"infobip-delivery: {panel}") == {"": count}
    assert grafana.figures("infobip-delivery: In flight") == {"": total(truth, "infobip_messages_in_flight")}
    assert grafana.figures("infobip-exporter: Rejected records") == {
        "": total(truth, "infobip_exporter_records_rejected_total")
    }

    for panel in ("infobip-delivery: Lost", "infobip-exporter: Lost"):
        assert grafana.figures(panel) == {"": 0}  # and not "no data"

    cost = by_currency(truth)
    assert set(cost) >= {"EUR", "USD"}
    wasted = {
        currency: whole - total(truth, "infobip_cost_total", currency=currency, general_status="DELIVERED")
        for currency, whole in cost.items()
    }
    for panel in (
        "infobip-delivery: Cost today (UTC)",
        "infobip-cost: Cost",
        "infobip-cost: This month (UTC)",
    ):
        assert grafana.figures(panel) == pytest.approx(cost)
    assert grafana.figures("infobip-cost: Not delivered") == pytest.approx(wasted)
    assert grafana.figures("infobip-cost: Share not delivered") == pytest.approx(
        {currency: wasted[currency] / spent for currency, spent in cost.items() if spent}
    )
