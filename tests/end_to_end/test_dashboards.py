"""Every panel's query on a real Prometheus, fed by the exporter: it works, shows something, and its figures are the truth."""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infobip_sandbox.chain import configure
from tests.alerting import servers
from tests.alerting.dashboards import DASHBOARDS, queries, substituted
from tests.alerting.servers import needs, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.counts import Counts, difference, value, without
from tests.end_to_end.programs import NO_LIMIT, QUICK, account, sandbox
from tests.end_to_end.scraper import Scraper

pytestmark = needs("prometheus")

FASTER = 30
"""A scrape every half second."""

RANGE_S = 300
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


class Asking(Scraper):
    """Asks as Grafana does."""

    def instant(self, expr: str) -> list[dict[str, Any]]:
        return self.ask(substituted(expr, RANGE_S, "5s"))

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        now = time.time()
        return self.ask(substituted(expr, RANGE_S, "5s"), "query_range", start=now - RANGE_S, end=now, step=1)

    def figures(self, panel: str) -> dict[str, float]:
        """What a stat panel shows: by currency, or under "" where it is one figure. `panel` as in `queries()`."""
        [expr] = [each.expr for each in queries() if each.name == panel and each.instant]
        return {each["metric"].get("currency", ""): float(each["value"][1]) for each in self.instant(expr)}


@pytest.fixture
def asking(make_exporter: MakeExporter, tmp_path: Path) -> Iterator[tuple[Asking, Counts]]:
    """A Prometheus that has seen all of some lively traffic, and the truth about it."""
    with sandbox(*QUICK, *NO_LIMIT, "--traffic", "bad_share=0.02") as api:
        metrics = {"labels": ["entity_id", "application_id", "campaign"], "zero_hold": "2s"}
        exporter = make_exporter({"accounts": [account(api)], "metrics": metrics})
        configs = configure(tmp_path, exporter.address, "127.0.0.1:9", "http://127.0.0.1:9", FASTER)
        with servers.prometheus(configs[0], tmp_path) as url:
            exporter.start(wait_until_ready=True)
            asking = Asking(url)
            api.lively_for(4, per_second=150)
            api.control("POST", "faults", {"script": ["500", "500"]})
            until(lambda: api.now_ms() > api.quiet_from_ms)
            until(lambda: not difference(without(exporter.counts(), "campaign"), api.truth()), within_s=75)
            asking.catch_up()
            # What is recorded of it comes a little later.
            sent = {"": value(api.truth(), "infobip_messages_sent_total")}
            until(lambda: asking.figures("infobip-delivery: Sent") == sent, within_s=15)
            yield asking, api.truth()


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

    def ended(status: str) -> float:
        return value(truth, "infobip_messages_total", general_status=status)

    settled = value(truth, "infobip_messages_total")
    assert ended("REJECTED") > 0
    assert ended("UNDELIVERABLE") > 0
    for panel, figure in (
        ("delivery: Sent", value(truth, "infobip_messages_sent_total")),
        ("delivery: Delivery rate", pytest.approx(ended("DELIVERED") / settled)),
        ("delivery: Rejected", ended("REJECTED")),
        ("delivery: Undeliverable", ended("UNDELIVERABLE")),
        ("delivery: In flight", value(truth, "infobip_messages_in_flight")),
        ("exporter: Rejected records", value(truth, "infobip_exporter_records_rejected_total")),
        ("delivery: Lost", 0),  # and not "no data"
        ("exporter: Lost", 0),
    ):
        assert grafana.figures(f"infobip-{panel}") == {"": figure}

    cost, wasted = defaultdict[str, float](float), defaultdict[str, float](float)
    for (name, labels), amount in truth.items():
        if name == "infobip_cost_total":
            of = dict(labels)
            cost[of["currency"]] += amount
            wasted[of["currency"]] += amount if of["general_status"] != "DELIVERED" else 0
    assert set(cost) >= {"EUR", "USD"}
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
