"""Worlds for promtool: series as Prometheus would have stored them, and what the rules make of them."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = sorted((REPOSITORY / "prometheus" / "rules").glob("*.yml"))
GROUPS: list[dict[str, Any]] = [
    group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]
]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]

FEED = {"account": "main", "channel": "instagram"}
EXPORTER = {"job": "infobip", "instance": "infobip"}
"""The labels of a feed's series: `instance` is constant."""
TARGET = {"job": "infobip", "instance": "exporter:10470"}
"""Those of the process, such as `up`."""

DELIVERY_PAGES = "RejectedSpike|UndeliverableSpike|FailureSpike|AccountFailing|NothingSettles|TrafficStopped"
DELIVERY_ALERTS = f"{DELIVERY_PAGES}|ErrorBudgetBurn|DestinationFailing|DestinationSpike|DeliverySlow|MessagesStuckInFlight|CostSpike|TrafficLow|StatusUnknown"

LEARNT = 120.0
"""Minutes after which what an entity always does is usual."""

Sample = float | None
"""None is a moment at which the exporter was not there."""


@dataclass(frozen=True)
class Rate:
    """A counter of whole messages that grows by `per_minute` for so many minutes."""

    minutes: float
    per_minute: float


@dataclass(frozen=True)
class Hold:
    """A gauge of this value for so many minutes."""

    minutes: float
    value: float


@dataclass(frozen=True)
class Jump:
    """Added in no time, before the next scrape."""

    amount: float


@dataclass(frozen=True)
class Gap:
    """The exporter is away for so many minutes."""

    minutes: float


@dataclass(frozen=True)
class Reset:
    """The counter starts again at zero."""


@dataclass(frozen=True)
class Slope:
    """A gauge that goes to `value` in a straight line."""

    minutes: float
    value: float


Part = Rate | Hold | Slope | Jump | Gap | Reset


def samples(parts: Iterable[Part], steps_a_minute: float) -> list[Sample]:
    values: list[Sample] = []
    now = 0.0
    for part in parts:
        match part:
            case Rate(minutes, per_minute):
                for _ in range(round(minutes * steps_a_minute)):
                    values.append(now // 1)  # whole: in a sum of fractions promtool would see resets
                    now = round(now + per_minute / steps_a_minute, 6)
            case Hold(minutes, value):
                now = value
                values += [value] * round(minutes * steps_a_minute)
            case Slope(minutes, value):
                steps = round(minutes * steps_a_minute)
                values += [round(now + (value - now) * step / steps, 3) for step in range(1, steps + 1)]
                now = value
            case Jump(amount):
                now += amount
            case Gap(minutes):
                values += [None] * round(minutes * steps_a_minute)
            case Reset():
                now = 0.0
    return values


def notation(values: list[Sample]) -> str:
    """The values in promtool's notation; a gap begins with the stale marker that Prometheus writes."""
    words: list[str] = []
    position = 0
    while position < len(values):
        value = values[position]
        if value is None:
            length = len(list(next(groupby(values[position:], lambda v: v is None))[1]))
            words += ["stale"] + ([f"_x{length - 1}"] if length > 1 else [])
            position += length
            continue
        following = values[position + 1] if position + 1 < len(values) else None
        step = 0.0 if following is None else following - value
        length = 1
        while position + length < len(values) and values[position + length] == value + step * length:
            length += 1
        words.append(f"{value:g}{step:+g}x{length - 1}" if length > 1 else f"{value:g}")
        position += length
    return " ".join(words)


def selector(name: str, labels: Mapping[str, str]) -> str:
    # A label of the empty string is no label, in a scrape as well.
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if value)
    return f"{name}{{{inside}}}"


@dataclass
class World:
    """`every_s` is the time between scrapes and, if `evaluated_s` doesn't say otherwise, between evaluations."""

    every_s: int = 15
    evaluated_s: int | None = None
    by_campaign: bool = False
    """Whether metrics.labels has more than by default: each series of messages is two."""
    series: dict[str, list[Sample]] = field(default_factory=dict)
    expression_tests: list[dict[str, Any]] = field(default_factory=list)
    alert_tests: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, *parts: Part, labels: Mapping[str, str] | None = None, **more: str) -> None:
        """A series of the exporter; `labels` replaces the feed's account and channel, or job and instance."""
        where = FEED if labels is None else labels
        self.series[selector(name, {**EXPORTER, **where, **more})] = self.samples(*parts)

    def samples(self, *parts: Part) -> list[Sample]:
        return samples(parts, 60 / self.every_s)

    def messages(
        self, status: str, *parts: Part, entity: str = "shop", labels: Mapping[str, str] | None = None
    ) -> None:
        group = {"DELIVERED": "OK", "REJECTED": "OPERATOR_ERRORS"}.get(status, "HANDSET_ERRORS")
        self.add(
            "infobip_messages_total",
            *parts,
            labels=labels,
            general_status=status,
            error_group=group,
            entity_id=entity,
            application_id="app",
        )

    def watched(self, *lag: Part, labels: Mapping[str, str] | None = None) -> None:
        """The exporter's own gauges: `lag` as given, no backlog, up while it is there."""
        values = self.samples(*lag)
        where = {**EXPORTER, **(FEED if labels is None else labels)}
        self.series[selector("infobip_exporter_lag_seconds", where)] = values
        for name, value in (
            ("infobip_exporter_backlog_seconds", 0.0),
            ("infobip_up", 1.0),
            ("infobip_exporter_feed_info", 1.0),
        ):
            self.series[selector(name, where)] = [None if lagging is None else value for lagging in values]
        target = TARGET | {"job": where["job"]}
        self.series[selector("up", target)] = [0.0 if lagging is None else 1.0 for lagging in values]
        self.series[selector("infobip_exporter_build_info", target)] = [
            None if lagging is None else 1.0 for lagging in values
        ]

    def firing(self, minute: float, alert: str, *expected: Mapping[str, str]) -> None:
        """At `minute` the alert fires with exactly these label sets (none: it does not fire)."""
        self.expression_tests.append(
            {
                "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                "eval_time": duration(minute),
                "exp_samples": [
                    {
                        "labels": selector("ALERTS", {"alertname": alert, "alertstate": "firing", **each}),
                        "value": 1,
                    }
                    for each in expected
                ],
            }
        )

    def never(self, minutes: float, alerts: str, since: float = 0) -> None:
        """None of the alerts that match the pattern fires from `since` to `minutes`."""
        window = duration(minutes - since)
        self.value(minutes, f'count_over_time(ALERTS{{alertname=~"{alerts}",alertstate="firing"}}[{window}])')

    def pages(self, start: float, within: float, alerts: str = ".*", until: float | None = None) -> None:
        """One of the alerts is the first to page, at most `within` minutes after `start`; `until` then some alert pages."""
        end = start + within
        since = min(LEARNT, start)
        if start > since:
            self.never(start - 0.5, DELIVERY_PAGES, since)
        self.value(end, f"{self.first_page(end, alerts, since)} <= bool {round(end * 60)}", ("{}", 1))
        if until is not None:
            paged = f'max(ALERTS{{alertname=~"{alerts}",severity="critical",alertstate="firing"}})'
            steps = round((until - end) * 60 / self.evaluated)
            seen = f"count_over_time({paged}[{duration(until - end)}:{self.evaluated}s]) >= bool {steps}"
            self.value(until, seen, ("{}", 1))

    def first_page(self, minute: float, alerts: str = ".*", since: float = LEARNT) -> str:
        """An expression for the second at which one of the alerts began to page, from `since` to `minute`."""
        firing = f'ALERTS{{alertname=~"{alerts}",severity="critical",alertstate="firing"}}'
        return f"min(min_over_time(timestamp({firing})[{duration(minute - since)}:{self.evaluated}s]))"

    @property
    def rhythm(self) -> tuple[int, int, int]:
        """Worlds of one rhythm can be checked together; of about the same length, for a window reads all there was."""
        ends_s = max(int(test["eval_time"].removesuffix("s")) for test in self.expression_tests)
        return self.every_s, self.evaluated, ends_s // 7200

    @property
    def evaluated(self) -> int:
        """Seconds between evaluations."""
        return self.evaluated_s or self.every_s

    def value(self, minute: float, expression: str, *expected: tuple[str, float]) -> None:
        self.expression_tests.append(
            {
                "expr": expression,
                "eval_time": duration(minute),
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected],
            }
        )

    def texts(
        self, minute: float, alert: str, expected: list[tuple[Mapping[str, str], Mapping[str, str]]]
    ) -> None:
        """At `minute` the alert fires with exactly these labels and annotations."""
        self.alert_tests.append(
            {
                "eval_time": duration(minute),
                "alertname": alert,
                "exp_alerts": [
                    {"exp_labels": dict(labels), "exp_annotations": dict(annotations)}
                    for labels, annotations in expected
                ],
            }
        )

    def check(self, folder: Path) -> None:
        """Runs promtool on this world alone; fails with what it says."""
        assert not (said := _promtool([self], folder)), said

    def as_job(self, number: int) -> "World":
        """The same world with jobs of its own, so that it can share a Prometheus with others."""
        mark = rf'job="\1@{number}"'

        def named(text: str) -> str:
            return re.sub(r'job="([^"]*)"', mark, text)

        tests = [
            {
                **test,
                "expr": test["expr"].replace("ALERTS{", f'ALERTS{{job=~".+@{number}",'),
                "exp_samples": [{**each, "labels": named(each["labels"])} for each in test["exp_samples"]],
            }
            for test in self.expression_tests
        ]
        series = _by_campaign(self.series) if self.by_campaign else self.series
        series = {named(name): values for name, values in series.items()}
        return replace(self, series=series, expression_tests=tests, by_campaign=False)


def check_together(worlds: Iterable[World], folder: Path) -> list[str]:
    """Runs promtool on all of them side by side, each as an exporter of its own; by world, what it says of failures.

    promtool takes its time for the evaluations more than for the series: 22 worlds take five times as long as one.
    """
    marked = [world.as_job(number) for number, world in enumerate(worlds)]
    said = [""] * len(marked)
    alike = sorted(range(len(marked)), key=lambda number: marked[number].rhythm)
    for _, numbers in groupby(alike, key=lambda number: marked[number].rhythm):
        together = list(numbers)
        for failure in re.split(
            r"^    (?=expr:)", _promtool([marked[n] for n in together], folder), flags=re.MULTILINE
        )[1:]:
            said[int(re.search(r"\.\+@(\d+)", failure).group(1))] += failure  # type: ignore[union-attr]
    return said


def _promtool(worlds: list[World], folder: Path) -> str:
    """What promtool says of failures in these worlds of one rhythm, in one Prometheus; nothing where all is as expected."""
    groups = [group["name"] for group in GROUPS]
    order = [
        "infobip-current",
        "infobip-delivery",
        "infobip-delivery-long",
        "infobip-destinations",
        "infobip-usual",
    ]
    series = [(_by_campaign(world.series) if world.by_campaign else world.series) for world in worlds]
    test = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": f"{worlds[0].evaluated}s",
        "group_eval_order": order + [name for name in groups if name not in order],
        "tests": [
            {
                "interval": f"{worlds[0].every_s}s",
                "input_series": [
                    {"series": name, "values": notation(values)}
                    for each in series
                    for name, values in each.items()
                ],
                "promql_expr_test": [test for world in worlds for test in world.expression_tests],
                "alert_rule_test": [test for world in worlds for test in world.alert_tests],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test, sort_keys=False))
    environment = {**os.environ, "GOGC": "400"}  # a tenth faster; its memory is small
    result = subprocess.run(
        ["promtool", "test", "rules", path], capture_output=True, text=True, check=False, env=environment
    )
    said = result.stdout + result.stderr
    assert (result.returncode == 0) or "expr:" in said or "alertname:" in said, said
    return said if result.returncode else ""


def _by_campaign(series: Mapping[str, list[Sample]]) -> dict[str, list[Sample]]:
    """Each series of messages in two, with labels that no rule knows; together they are what they were."""
    split: dict[str, list[Sample]] = {}
    for name, values in series.items():
        if not re.match(r"infobip_(message|cost|delivery_duration)", name):
            split[name] = values
            continue
        halves = [None if value is None else value // 2 for value in values]
        rest = [None if value is None else value - value // 2 for value in values]
        for campaign, part in (("spring", halves), ("autumn", rest)):
            labels = f'{{campaign="{campaign}",content_type="TEXT",sender="acme",'
            split[name.replace("{", labels, 1)] = part
    return split


def duration(minutes: float) -> str:
    return f"{round(minutes * 60)}s"
