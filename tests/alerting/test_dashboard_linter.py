"""The rules of Grafana's dashboard-linter, as far as they are about classic dashboards of Prometheus and test_dashboards.py
does not ask for more.

The linter is https://github.com/grafana/dashboard-linter; the names are those of its rules. What a rule asks for and is
not done here is in grafana/dashboards/.lint, in the linter's own form, with the reason.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.alerting.dashboards import DASHBOARDS, panels
from tests.alerting.world import REPOSITORY

Finding = tuple[str, str]
"""The panel's or the variable's title, and what is wrong."""

LINT = yaml.safe_load((REPOSITORY / "grafana" / "dashboards" / ".lint").read_text())["exclusions"]
EXCEPTIONS: dict[str, set[str]] = {
    rule: {entry["panel"] for entry in excluded.get("entries", [])} or {"*"}
    for rule, excluded in LINT.items()
}
"""By rule, the panels; `*` is all."""


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in board["templating"]["list"]}


def template_reload(board: dict[str, Any]) -> Iterator[Finding]:
    for name, variable in variables(board).items():
        if variable["type"] == "query" and variable["refresh"] != 2:
            yield name, "must be refreshed on a change of the time range"


def template_label_promql(board: dict[str, Any]) -> Iterator[Finding]:
    for name, variable in variables(board).items():
        if variable["type"] == "query" and not re.fullmatch(
            r"label_values\(\w+(\{.*\})?, \w+\)", variable["query"]["query"]
        ):
            yield name, "must be label_values of a series"


def panel_units(board: dict[str, Any]) -> Iterator[Finding]:
    for panel in panels(board["uid"]):
        defaults = panel["fieldConfig"]["defaults"]
        if defaults["unit"] == "none" and not defaults.get("mappings"):
            yield panel["title"], "needs a unit"


def _queries(board: dict[str, Any]) -> Iterator[Finding]:
    for panel in panels(board["uid"]):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def _selectors(expr: str) -> list[str]:
    """What is between curly brackets after each metric."""
    names = r"\b(?!on\b|by\b|and\b|or\b|unless\b|ignoring\b|offset\b)[a-zA-Z_:][\w:]*"
    found = re.findall(rf"{names}\{{([^}}]*)\}}", expr)
    assert found, expr
    return found


def target_job(board: dict[str, Any]) -> Iterator[Finding]:
    for title, expr in _queries(board):
        if not all('job=~"$job"' in selector for selector in _selectors(expr)):
            yield title, 'needs job=~"$job"'


def target_instance(board: dict[str, Any]) -> Iterator[Finding]:
    for title, expr in _queries(board):
        if not all('instance=~"$instance"' in selector for selector in _selectors(expr)):
            yield title, 'needs instance=~"$instance"'


def target_rate_interval(board: dict[str, Any]) -> Iterator[Finding]:
    for title, expr in _queries(board):
        for window in re.findall(r"\b(?:rate|irate|increase)\([^\[]*\[([^\]]+)\]", expr):
            if window != "$__rate_interval":
                yield title, f"looks back by {window} instead of $__rate_interval"


def target_counter_aggregation(board: dict[str, Any]) -> Iterator[Finding]:
    for title, expr in _queries(board):
        for before in re.findall(r"(\w*\(?)\b\w+_(?:total|sum|count)\{", expr):
            if before not in {"rate(", "irate(", "increase("}:
                yield title, "uses a counter without rate, irate or increase"


def uneditable_dashboard(board: dict[str, Any]) -> Iterator[Finding]:
    if board["editable"]:
        yield board["title"], "can be edited"


RULES: dict[str, Callable[[dict[str, Any]], Iterator[Finding]]] = {
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_reload,
    "panel-units-rule": panel_units,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-rate-interval-rule": target_rate_interval,
    "target-counter-agg-rule": target_counter_aggregation,
    "uneditable-dashboard": uneditable_dashboard,
}


@pytest.mark.parametrize("uid", DASHBOARDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_of_the_linter_holds_but_for_what_is_excepted(uid: str, rule: str) -> None:
    excepted = EXCEPTIONS.get(rule, set())
    found = list(RULES[rule](DASHBOARDS[uid]))
    assert [finding for finding in found if "*" not in excepted and finding[0] not in excepted] == []


@pytest.mark.parametrize("rule", EXCEPTIONS)
def test_no_exception_is_left_that_nothing_needs(rule: str) -> None:
    found = {title for board in DASHBOARDS.values() for title, _ in RULES[rule](board)}
    assert found
    assert EXCEPTIONS[rule] - {"*"} <= found
    assert LINT[rule]["reason"]
