"""The whole chain, nothing mocked: an incident at Infobip, the exporter, Prometheus, Alertmanager, and who is told.

The rules and configurations are those that are shipped, with all their durations divided: minutes become seconds.
"""

import re
from pathlib import Path
from typing import Any

from infobip_sandbox.chain import configure
from tests.alerting import servers
from tests.alerting.servers import HTTP, free_address, needs, until
from tests.end_to_end.conftest import MakeExporter
from tests.end_to_end.programs import NO_LIMIT, account, sandbox
from tests.end_to_end.scraper import Scraper

pytestmark = needs("prometheus", "prometheus-alertmanager")

FASTER = 60
QUICK = ("--traffic", "settle_median_s=0.3", "--traffic", "settle_sigma=0.5", "--traffic", "late_share=0")
TELLING = {
    "poll": {"interval": "1s", "late_arrival": "1s", "lookback": "0s", "timeout": "5s"},
    "metrics": {"zero_hold": "1s"},
}


def alerts(received: list[dict[str, Any]], status: str = "firing") -> list[dict[str, Any]]:
    """All that was told so far in that status, and where."""
    told = [{"path": each["path"], **alert} for each in received for alert in each["alerts"]]
    return [alert for alert in told if alert["status"] == status]


def spikes(received: list[dict[str, Any]], status: str = "firing") -> list[dict[str, Any]]:
    return [each for each in alerts(received, status) if each["labels"]["alertname"] == "RejectedSpike"]


def test_an_incident_reaches_the_pager_and_so_does_its_end(
    make_exporter: MakeExporter, tmp_path: Path
) -> None:
    with (
        sandbox("--rate=20", "--traffic", "daily_swing=0", *QUICK, *NO_LIMIT) as api,
        servers.receiver() as (receiver, received),
    ):
        exporter = make_exporter({"accounts": [account(api)], **TELLING})
        exporter.start(wait_until_ready=True)
        address = free_address()
        configs = configure(tmp_path, exporter.address, address, receiver, FASTER)
        with (
            servers.alertmanager(configs[1], tmp_path, address) as alertmanager,
            servers.prometheus(configs[0], tmp_path) as prometheus,
        ):
            watched = "count(feed:infobip_exporter_current:min20m)"
            until(
                lambda: [each["value"][1] for each in Scraper(prometheus).ask(watched)] == ["1"], within_s=60
            )
            # Minutes made seconds, the start of Prometheus alone can look like minutes without metrics.
            paged = {each["labels"]["alertname"] for each in alerts(received) if each["path"] == "/pager"}
            assert paged <= {"ExporterDown"}
            api.control(
                "POST",
                "incident",
                {"seconds": 15, "kind": "rejected", "entity_id": "shop-france", "extra_per_second": 20},
            )
            until(lambda: bool(spikes(received)), within_s=45)
            [page] = spikes(received)
            assert page["path"] == "/pager"
            assert page["labels"] == {
                "alertname": "RejectedSpike", "severity": "critical", "component": "delivery",
                "job": "infobip", "instance": "infobip", "account": "demo", "channel": "instagram", "entity_id": "shop-france", "general_status": "REJECTED",
            }  # fmt: skip
            assert "of the messages of entity shop-france are REJECTED" in page["annotations"]["summary"]
            assert page["annotations"]["runbook_url"].endswith("/RejectedSpike.md")
            assert re.search(r"\?from=\d{13}&to=now&var-job=infobip", page["annotations"]["dashboard_url"])
            (shown,) = [
                each
                for each in HTTP.get(f"{alertmanager}/api/v2/alerts").json()
                if each["labels"]["alertname"] == "RejectedSpike"
            ]
            assert shown["status"]["state"] == "active"

            until(lambda: bool(spikes(received, "resolved")), within_s=90)
            # Minutes made seconds, a handful of messages can look like another spike, but not of this kind.
            told = [each["labels"] for status in ("firing", "resolved") for each in alerts(received, status)]
            assert {each["component"] for each in told if each["alertname"] != "ExporterDown"} == {"delivery"}
            rejected = {each["entity_id"] for each in told if each["alertname"] == "RejectedSpike"}
            assert rejected == {"shop-france"}
