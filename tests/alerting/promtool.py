"""Worlds, as promtool checks them."""

import json
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

from tests.alerting.servers import accepted
from tests.alerting.world import GROUPS, RULES, Sample, World


def check_alone(world: World, folder: Path) -> None:
    """Fails with what promtool says of this world."""
    assert not (said := _promtool([_by_campaign(world)], folder)), said


def check_together(worlds: Iterable[World], folder: Path) -> list[str]:
    """By world, what promtool says of failures, where each is an exporter of its own beside the others.

    promtool takes its time for the evaluations more than for the series: 22 worlds take five times as long as one.
    """
    marked = [_as_job(_by_campaign(world), number) for number, world in enumerate(worlds)]
    said = [""] * len(marked)
    for _, alike in groupby(sorted(marked, key=_rhythm), key=_rhythm):
        for failure in re.split(r"^    (?=expr:)", _promtool(list(alike), folder), flags=re.MULTILINE)[1:]:
            said[int(re.search(r"\.\+@(\d+)", failure).group(1))] += failure  # type: ignore[union-attr]
    return said


def _rhythm(world: World) -> tuple[int, int, int]:
    """Worlds of one rhythm can be checked together; of about the same length, for a window reads all there was."""
    ends_s = max(int(test["eval_time"].removesuffix("s")) for test in world.expression_tests)
    return world.every_s, world.evaluated, ends_s // 7200


def _as_job(world: World, number: int) -> World:
    """The same world with jobs of its own, so that it can share a Prometheus with others."""

    def named(text: str) -> str:
        return re.sub(r'job="([^"]*)"', rf'job="\1@{number}"', text)

    tests = [
        {
            **test,
            "expr": test["expr"].replace("ALERTS{", f'ALERTS{{job=~".+@{number}",'),
            "exp_samples": [{**each, "labels": named(each["labels"])} for each in test["exp_samples"]],
        }
        for test in world.expression_tests
    ]
    series = {named(name): values for name, values in world.series.items()}
    return replace(world, series=series, expression_tests=tests)


def _by_campaign(world: World) -> World:
    """Where it has more labels, each series of messages in two with labels that no rule knows, which add up to it."""
    if not world.by_campaign:
        return world
    series: dict[str, list[Sample]] = {}
    for name, values in world.series.items():
        if not re.match(r"infobip_(message|cost|delivery_duration)", name):
            series[name] = values
            continue
        halves = [None if value is None else value // 2 for value in values]
        rest = [None if value is None else value - value // 2 for value in values]
        for campaign, part in (("spring", halves), ("autumn", rest)):
            labels = f'{{campaign="{campaign}",content_type="TEXT",sender="acme",'
            series[name.replace("{", labels, 1)] = part
    return replace(world, series=series)


def _promtool(worlds: list[World], folder: Path) -> str:
    """What promtool says of failures in these worlds of one rhythm, in one Prometheus; nothing where all is as expected."""
    first = [f"infobip-{name}" for name in ("current", "delivery", "delivery-long", "destinations", "usual")]
    series: dict[str, list[Sample]] = {}
    for world in worlds:
        series |= world.series
    test = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": f"{worlds[0].evaluated}s",
        "group_eval_order": list(dict.fromkeys([*first, *(group["name"] for group in GROUPS)])),
        "tests": [
            {
                "interval": f"{worlds[0].every_s}s",
                "input_series": [{"series": name, "values": _notation(series[name])} for name in series],
                "promql_expr_test": [test for world in worlds for test in world.expression_tests],
                "alert_rule_test": [test for world in worlds for test in world.alert_tests],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(json.dumps(test))
    environment = {**os.environ, "GOGC": "400"}  # a tenth faster; its memory is small
    result = subprocess.run(
        ["promtool", "test", "rules", path], capture_output=True, text=True, check=False, env=environment
    )
    said = result.stdout + result.stderr
    assert (result.returncode == 0) or "expr:" in said or "alertname:" in said, said
    return said if result.returncode else ""


def _notation(values: list[Sample]) -> str:
    """In promtool's notation; a gap begins with the stale marker that Prometheus writes."""
    before: list[Sample] = [0.0, *values]
    return " ".join(
        f"{value:.15g}" if value is not None else "stale" if last is not None else "_"
        for last, value in pairwise(before)
    )


def check_queries(queries: Iterable[str], folder: Path) -> None:
    """All of them parse."""
    rules = [{"record": f"query:number_{number}:x", "expr": query} for number, query in enumerate(queries)]
    file = folder / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    accepted("promtool", "check", "rules", file)
