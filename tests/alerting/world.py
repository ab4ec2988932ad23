"""Worlds for promtool: series as Prometheus would have stored them, and what the rules make of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    away: Sequence[tuple[float, float]] = ()
    """From which minute to which the exporter is not there, beside gaps; what is counted meanwhile is there afterwards."""
    series: dict[str, list[Sample]] = field(default_factory=dict)
    expression_tests: list[dict[str, Any]] = field(default_factory=list)
    alert_tests: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, *parts: Part, labels: Mapping[str, str] | None = None, **more: str) -> None:
        """A series of the exporter; `labels` replaces the feed's account and channel, or job and instance."""
        where = FEED if labels is None else labels
        self.series[selector(name, {**EXPORTER, **where, **more})] = self.samples(*parts)

    def samples(self, *parts: Part) -> list[Sample]:
        values = samples(parts, 60 / self.every_s)
        for begin, end in self.away:
            first, last = (round(minute * 60 / self.every_s) for minute in (begin, end))
            values[first:last] = [None] * len(values[first:last])
        return values

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
        here: list[Sample] = [None if lagging is None else 1.0 for lagging in values]
        where = {**EXPORTER, **(FEED if labels is None else labels)}
        target = TARGET | {"job": where["job"]}
        self.series |= {
            selector("infobip_exporter_lag_seconds", where): values,
            selector("infobip_exporter_backlog_seconds", where): [value and 0.0 for value in here],
            selector("infobip_up", where): here,
            selector("infobip_exporter_feed_info", where): here,
            selector("infobip_exporter_build_info", target): here,
            selector("up", target): [value or 0.0 for value in here],
        }

    def firing(self, minute: float, alert: str, *expected: Mapping[str, str]) -> None:
        """At `minute` the alert fires with exactly these label sets (none: it does not fire)."""
        name = {"alertname": alert, "alertstate": "firing"}
        exact = [(selector("ALERTS", {**name, **each}), 1.0) for each in expected]
        self.value(minute, selector("ALERTS", name), *exact)

    def never(self, minutes: float, alerts: str, since: float = 0) -> None:
        """None of the alerts that match the pattern fires from `since` to `minutes`."""
        window = duration(minutes - since)
        self.value(minutes, f'count_over_time(ALERTS{{alertname=~"{alerts}",alertstate="firing"}}[{window}])')

    def pages(self, start: float, within: float, alerts: str, until: float) -> None:
        """One of the alerts is the first to page, at most `within` minutes after `start`, and some such one pages `until`."""
        end = start + within
        since = min(LEARNT, start)
        if start > since:
            self.never(start - 0.5, DELIVERY_PAGES, since)
        firing = f'ALERTS{{alertname=~"{alerts}",severity="critical",alertstate="firing"}}'
        first = f"min(min_over_time(timestamp({firing})[{duration(end - since)}:{self.evaluated}s]))"
        self.value(end, f"{first} <= bool {round(end * 60)}", ("{}", 1))
        steps = round((until - end) * 60 / self.evaluated)
        seen = f"count_over_time(max({firing})[{duration(until - end)}:{self.evaluated}s]) >= bool {steps}"
        self.value(until, seen, ("{}", 1))

    @property
    def evaluated(self) -> int:
        """Seconds between evaluations."""
        return self.evaluated_s or self.every_s

    def value(self, minute: float, expression: str, *expected: tuple[str, float]) -> None:
        exact = [{"labels": labels, "value": value} for labels, value in expected]
        test = {"expr": expression, "eval_time": duration(minute), "exp_samples": exact}
        self.expression_tests.append(test)

    def texts(
        self, minute: float, alert: str, expected: list[tuple[Mapping[str, str], Mapping[str, str]]]
    ) -> None:
        """At `minute` the alert fires with exactly these labels and annotations."""
        exact = [{"exp_labels": labels, "exp_annotations": annotations} for labels, annotations in expected]
        test = {"eval_time": duration(minute), "alertname": alert, "exp_alerts": exact}
        self.alert_tests.append(test)


def duration(minutes: float) -> str:
    return f"{round(minutes * 60)}s"
