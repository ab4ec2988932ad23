"""The dashboards are whole, consistent with the catalogue, and can be imported anywhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import build
from infobip_exporter.metrics import catalog
from tests.alerting.dashboards import DASHBOARDS, PATHS, Asked, panels, queries, substituted
from tests.alerting.promtool import check_queries
from tests.alerting.servers import needs
from tests.alerting.world import ALERTS, GROUPS, REPOSITORY

RUNBOOKS = "https://github.com/infobip-exporter/infobip-exporter/blob/main/docs/runbooks"

each_dashboard = pytest.mark.parametrize("uid", DASHBOARDS)
each_query = pytest.mark.parametrize("asked", list(queries()), ids=lambda asked: asked.name)


def test_the_committed_dashboards_are_what_the_code_writes() -> None:
    committed = {path: path.read_text() for path in PATHS}
    assert build.files() == committed, "stale: run python -m grafana.build"


def test_uids_are_stable() -> None:
    assert list(DASHBOARDS) == [f"infobip-{name}" for name in ("campaigns", "cost", "delivery", "exporter")]


@each_dashboard
def test_a_dashboard_can_be_imported_and_leads_to_the_others_and_the_runbooks(uid: str) -> None:
    board = DASHBOARDS[uid]
    assert board["uid"] == uid
    assert board["schemaVersion"] == 38  # Grafana 10 knows it, and later ones migrate it
    assert "id" not in board  # a number of one Grafana
    link, runbooks = board["links"]
    assert runbooks["url"] == f"{RUNBOOKS}/README.md"
    assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
    assert link["tags"] == board["tags"] == ["infobip"]
    assert [each["name"] for each in board["annotations"]["list"]] == ["Alerts", "Restarts"]


@each_dashboard
def test_every_panel_has_a_title_a_description_a_unit_and_says_so_without_data(uid: str) -> None:
    for panel in panels(uid):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"] == ("none" if panel["title"] == "Firing alerts" else "no data")
        assert defaults["thresholds"]["steps"][0]["value"] is None
        assert panel["targets"]


@each_dashboard
def test_panels_have_a_number_a_title_and_a_place_of_their_own_in_24_columns(uid: str) -> None:
    numbers = [panel["id"] for panel in DASHBOARDS[uid]["panels"]]
    assert len(set(numbers)) == len(numbers)
    shown = [(panel["title"], panel["type"]) for panel in panels(uid)]
    assert len(set(shown)) == len(shown)
    places = [panel["gridPos"] for panel in DASHBOARDS[uid]["panels"]]
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert {x for x, _ in taken} <= set(range(24))


@each_dashboard
def test_the_data_source_is_always_the_chosen_one(uid: str) -> None:
    def sources(value: Any) -> list[Any]:
        if isinstance(value, dict):
            found = [value["datasource"]] if "datasource" in value else []
            return found + [source for each in value.values() for source in sources(each)]
        return [source for each in value for source in sources(each)] if isinstance(value, list) else []

    assert all(
        source == {"type": "prometheus", "uid": "${datasource}"} for source in sources(DASHBOARDS[uid])
    )


@each_dashboard
def test_several_or_all_can_be_chosen_and_the_first_choice_is_the_data_source(uid: str) -> None:
    source, *choices, fine = DASHBOARDS[uid]["templating"]["list"]
    assert (source["name"], source["type"], source["query"], source["label"]) == (
        "datasource",
        "datasource",
        "prometheus",
        "Data source",
    )
    assert [(each["name"], each["label"]) for each in choices[:2]] == [
        ("job", "Job"),
        ("instance", "Instance"),
    ]
    for choice in choices:
        assert (choice["type"], choice["multi"], choice["includeAll"]) == ("query", True, True)
        everything = (
            ".+" if choice["name"] in {"job", "instance", "campaign"} else ".*"
        )  # also what has no such label
        assert choice["allValue"] == everything
    expected = {"infobip-delivery": 6, "infobip-cost": 7, "infobip-exporter": 4, "infobip-campaigns": 6}
    assert len(choices) == expected[uid]
    assert (fine["name"], fine["type"], fine["query"]) == ("fine", "constant", "DELIVERED")


@each_dashboard
def test_times_are_utc_as_the_days_and_months_of_the_figures_are(uid: str) -> None:
    assert DASHBOARDS[uid]["timezone"] == "utc"
    for panel in panels(uid):
        assert ("timeFrom" in panel) == ("UTC" in panel["title"])


@pytest.mark.parametrize("uid", ["infobip-delivery", "infobip-exporter"])
def test_the_dashboards_for_incidents_list_what_fires_and_link_its_runbooks(uid: str) -> None:
    [panel] = [each for each in panels(uid) if each["title"] == "Firing alerts"]
    [override] = panel["fieldConfig"]["overrides"][-1]["properties"]
    assert [link["url"] for link in override["value"]] == [f"{RUNBOOKS}/${{__value.raw}}.md"]


def test_links_in_tables_lead_to_a_dashboard_and_carry_the_choices_and_the_row() -> None:
    links = re.findall(r'"url": "(/d/[^"]+)"', "".join(path.read_text() for path in PATHS))
    assert len(links) == 2
    for link in links:
        assert re.match(r"/d/(infobip-[a-z]+)\?", link).group(1) in DASHBOARDS  # type: ignore[union-attr]
        assert "${datasource:queryparam}" in link
        assert "var-entity=${__data.fields.Entity:percentencode}" in link
        assert "${__url_time_range}" in link


@each_query
def test_a_rate_looks_back_by_the_rate_interval_and_a_figure_by_the_range(asked: Asked) -> None:
    found = re.findall(r"\b(rate|\w+_over_time)\(([^\[\]]*)\[([^\]]+)\]", asked.expr)
    for function, series, window in found:
        if series.startswith("infobip_exporter_build_info"):
            assert window == "2d"  # as in the alert ExporterDown
        elif function == "last_over_time":
            assert window == "1h"  # a bar's counter a step before, over a gap
        else:
            assert window == ("$__range" if function.endswith("_over_time") else "$__rate_interval")
            assert asked.instant == (window == "$__range")


@each_query
def test_a_ratio_of_failures_over_time_has_a_floor_of_20_messages_in_15_minutes(asked: Asked) -> None:
    if "ailure ratio" in asked.panel or asked.panel == "Failing now":
        assert re.search(r"\[15m\]\)\) >= 20\)", asked.expr)


@each_dashboard
def test_bars_do_not_overlap_and_their_legend_adds_them_up(uid: str) -> None:
    for panel in panels(uid):
        if panel["fieldConfig"]["defaults"]["custom"].get("drawStyle") == "bars":
            assert panel["options"]["legend"]["calcs"] == ["sum"]
            assert panel["interval"] == "1m"
            assert all("offset $__interval" in target["expr"] for target in panel["targets"])


@each_query
def test_every_query_follows_the_choices(asked: Asked) -> None:
    if asked.panel == "Firing alerts":
        assert 'job=~"$job|",account=~"$account|",channel=~"$channel|"' in asked.expr
        return
    selectors = re.findall(r"\b(?:up|\w+_seconds\w*|[\w:]*infobip_[\w:]+)\{([^}]*)\}", asked.expr)
    assert selectors
    for selector in selectors:
        assert selector.startswith('job=~"$job"')
        if selector != 'job=~"$job"':
            assert 'instance=~"$instance",account=~"$account",channel=~"$channel"' in selector


@each_query
def test_every_metric_in_a_query_exists_with_its_labels(asked: Asked) -> None:
    known: dict[str, set[str]] = {}
    for family in catalog.FAMILIES:
        labels = {*catalog.labels_of(family), "account", "channel", "job", "instance", "le"}
        if family.chosen in ("sent", "settled"):
            labels.add("campaign")  # where metrics.labels has it
        if family.name == "infobip_delivery_duration_seconds":
            labels |= {"entity_id", "application_id"}  # where metrics.duration_labels has them
        for suffix in ("", "_bucket", "_count", "_sum") if family.type == "histogram" else ("",):
            known[family.name + suffix] = labels
    known |= {
        rule["record"]: {"job", "instance", "account", "channel", "currency"}
        for group in GROUPS
        for rule in group["rules"]
        if "record" in rule
    }
    for metric, inside in re.findall(r"\b([a-z_]*:?infobip_[a-z_]+(?::\w+)?)(?:\{([^}]*)\})", asked.expr):
        assert metric in known
        assert set(re.findall(r"(\w+)(?=!?=)", inside)) <= known[metric], metric


@each_query
def test_a_division_has_no_data_rather_than_nan_where_nothing_happened(asked: Asked) -> None:
    # (... > 0); what is above 0 as topk() or a failure is in it; the budget; seconds.
    safe = (
        "(",
        "topk(",
        "on (account, channel, campaign) group_left () (",
        "sum by (account, channel, entity_id)",
        "max by (account, channel) (infobip_exporter_api",
        "$__range_s",
    )
    for divisor in re.findall(r" / (.*)", asked.expr):
        assert divisor.startswith(safe), asked.expr


def test_every_metric_of_the_catalogue_is_shown_somewhere() -> None:
    text = "".join(asked.expr for asked in queries())
    unseen = {family.name for family in catalog.FAMILIES if family.name not in text}
    # The age of the oldest message in flight is in the alert MessagesStuckInFlight; whoever reloads asks how it went.
    reload = {name for name in unseen if name.startswith("infobip_exporter_config_last_reload_success")}
    assert unseen - reload <= {"infobip_oldest_in_flight_timestamp_seconds"}


@needs("promtool")
def test_every_query_parses(tmp_path: Path) -> None:
    annotations = [each["expr"] for board in DASHBOARDS.values() for each in board["annotations"]["list"]]
    check_queries(
        [substituted(expr) for expr in (*(asked.expr for asked in queries()), *annotations)], tmp_path
    )


def test_alerts_link_to_dashboards_and_choices_that_exist_at_the_time_of_their_incident() -> None:
    for alert in ALERTS:
        link = alert["annotations"]["dashboard_url"]
        uid = re.match(r"http://localhost:3000/d/([a-z-]+)\?", link).group(1)  # type: ignore[union-attr]
        choices = {choice["name"] for choice in DASHBOARDS[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", link)) <= choices
        assert f"ALERTS_FOR_STATE{{alertname='{alert['alert']}'" in link
        assert "&to=now" in link


def test_grafana_is_provisioned_with_the_dashboards_and_a_data_source() -> None:
    folder = REPOSITORY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((folder / "dashboards" / "infobip.yml").read_text())["providers"]
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    mounts = dict(
        mount.split(":")[:2] for mount in compose["services"]["grafana"]["volumes"] if "./" in mount
    )
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
