"""The committed dashboards as values, and their queries as Grafana would send them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.alerting.world import REPOSITORY

PATHS = sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in PATHS}


def panels(uid: str) -> list[dict[str, Any]]:
    """All but the rows."""
    return [panel for panel in DASHBOARDS[uid]["panels"] if panel["type"] != "row"]


@dataclass(frozen=True)
class Asked:
    """A query as it stands in the file, and where."""

    dashboard: str
    panel: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def queries() -> Iterator[Asked]:
    for uid in DASHBOARDS:
        for panel in panels(uid):
            for target in panel["targets"]:
                yield Asked(uid, panel["title"], target["expr"], target["instant"])


def substituted(expr: str, range_s: int = 21600, rate_interval: str = "1m") -> str:
    """With all chosen everywhere, over a range of `range_s`."""
    # The longer name first: it begins with the shorter one.
    for name, value in (
        ("$__range_s", f"{range_s}"),
        ("$__range", f"{range_s}s"),
        ("$__rate_interval", rate_interval),
        ("$__interval", rate_interval),
        ("$fine", "DELIVERED"),
    ):
        expr = expr.replace(name, value)
    for variable in "job instance account channel entity application campaign currency".split():
        expr = expr.replace(f"${variable}", ".*")
    return expr
