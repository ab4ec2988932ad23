"""Prometheus' rules as a resource of the Prometheus operator, and for the Helm chart: the same groups, in one object."""

from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "prometheus" / "rules"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no anchors: each alert can be read on its own."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def files() -> dict[str, str]:
    """By their paths, the PrometheusRule and what the chart puts into its own."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    groups = {"groups": [group for file in files for group in file["groups"]]}
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "infobip-exporter"},
        "spec": groups,
    }
    return {
        "packaging/kubernetes/prometheus-operator/prometheus-rule.yaml": _yaml(rule),
        "packaging/helm/infobip-exporter/rules.yaml": _yaml(groups),
    }


def _yaml(content: Any) -> str:
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)
    return f"# Written by `make generated` from prometheus/rules: change them there.\n{text}"
