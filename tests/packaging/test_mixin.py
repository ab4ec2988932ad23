"""The mixin renders to the very rules and dashboards that are shipped."""

import json
from typing import Any

import yaml

from tests.docs.pages import REPOSITORY
from tests.packaging.manifests import built, needs

RULES = REPOSITORY / "prometheus/rules"
DASHBOARDS = REPOSITORY / "grafana/dashboards"


def shipped(*names: str) -> list[Any]:
    return [
        group for name in names for group in yaml.safe_load((RULES / f"{name}.yml").read_text())["groups"]
    ]


@needs("jsonnet")
def test_it_holds_what_is_shipped() -> None:
    shown = ", ".join(
        f"{field}: m.{field}" for field in ("prometheusAlerts", "prometheusRules", "grafanaDashboards")
    )
    rendered = built("jsonnet", "-J", REPOSITORY, "-e", f"local m = import 'mixin.libsonnet'; {{ {shown} }}")
    assert rendered.returncode == 0, rendered.stderr
    mixin = json.loads(rendered.stdout)
    assert mixin == {
        "prometheusAlerts": {"groups": shipped("infobip-delivery-alerts", "infobip-exporter-alerts")},
        "prometheusRules": {"groups": shipped("infobip-recording")},
        "grafanaDashboards": {path.name: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")},
    }
    assert len(list(RULES.glob("*.yml"))) == 3
