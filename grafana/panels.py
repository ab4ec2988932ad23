"""What dashboards are made of, as plain values of Grafana's classic dashboard schema.

Version 38 of the schema is Grafana 10's; later ones migrate it when they load it. Nothing here is optional in a panel
that a reader needs: a title, a description, a unit, and "no data" where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SCHEMA_VERSION = 38
COLUMNS = 24
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
STATUS_COLOURS = {
    "DELIVERED": "green",
    "REJECTED": "red",
    "UNDELIVERABLE": "orange",
    "EXPIRED": "purple",
    "PENDING": "blue",
    "ACCEPTED": "light-blue",
}


@dataclass(frozen=True)
class Query:
    """`instant` asks for the values at the end of the time range, else for lines over it."""

    expr: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True)
class Panel:
    """Anything but a row. `width` of 24 columns; `steps` are thresholds, colour by the value from which it holds."""

    type: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()
    time_from: str | None = None
    """A range of its own instead of the dashboard's, such as now/d: today."""
    least_step: str | None = None
    """The least `$__interval`."""
    repeat: str | None = None
    """The variable of which each chosen value gets a panel of its own."""
    no_value: str = "no data"

    def json(self, number: int, x: int, y: int, height: int) -> Json:
        shown: Json = {
            "id": number,
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "noValue": self.no_value,
                    "color": {"mode": "thresholds" if self.type in {"stat", "gauge"} else "palette-classic"},
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"value": value, "color": colour} for value, colour in self.steps],
                    },
                    "custom": self.custom,
                    **self.defaults,
                },
                "overrides": list(self.overrides),
            },
            "options": self.options,
            "targets": [_target(query, ref) for query, ref in zip(self.queries, "ABCDEFGH", strict=False)],
        }
        if self.transformations:
            shown["transformations"] = list(self.transformations)
        if self.time_from:
            shown["timeFrom"] = self.time_from
        if self.least_step:
            shown["interval"] = self.least_step
        if self.repeat:
            shown |= {"repeat": self.repeat, "repeatDirection": "h", "maxPerRow": 3}
        return shown


def _target(query: Query, ref: str) -> Json:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.instant,
        "range": not query.instant,
        "format": query.format,
        "editorMode": "code",
    }


def stat(
    title: str, description: str, unit: str, expr: str, *, legend: str = "", width: int = 4, decimals: int | None = None,
    steps: tuple[tuple[float | None, str], ...] = ((None, BLUE),), mappings: Sequence[Json] = (),
    time_from: str | None = None, text: str = "auto",
) -> Panel:  # fmt: skip
    """One figure, or one for each series with its legend as its name."""
    return Panel(
        "stat", title, description, unit, (Query(expr, legend, instant=True),), width, steps,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "auto", "textMode": text, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        },
        defaults=({} if decimals is None else {"decimals": decimals}) | ({"mappings": list(mappings)} if mappings else {}),
        time_from=time_from,
    )  # fmt: skip


def lines(
    title: str, description: str, unit: str, *queries: Query, width: int = 12, stacked: bool = False, bars: bool = False,
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),), overrides: tuple[Json, ...] = (),
    maximum: float | None = None, minimum: float | None = 0, repeat: str | None = None,
) -> Panel:  # fmt: skip
    """Lines over time; `stacked` areas or `bars`. Gaps stay gaps. Steps other than the first are drawn as lines."""
    return Panel(
        "timeseries", title, description, unit, queries, width, steps,
        options={
            "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["sum"] if bars else ["mean", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        custom={
            "drawStyle": "bars" if bars else "line", "lineWidth": 1, "fillOpacity": 60 if bars else 30 if stacked else 8,
            "showPoints": "never", "spanNulls": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
        },
        defaults={name: value for name, value in (("min", minimum), ("max", maximum)) if value is not None},
        overrides=overrides, least_step="1m" if bars else None, repeat=repeat,
    )  # fmt: skip


def on_the_right(name: str, unit: str) -> Json:
    """The line of this name has an axis of its own."""
    properties: list[Json] = [
        {"id": "unit", "value": unit},
        {"id": "custom.axisPlacement", "value": "right"},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 4]}},
    ]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def heatmap(title: str, description: str, expr: str, width: int = 12) -> Panel:
    """A Prometheus histogram of seconds over time."""
    return Panel(
        "heatmap", title, description, "s", (Query(expr, "{{le}}", format="heatmap"),), width,
        options={
            "calculate": False, "cellGap": 1, "cellValues": {"unit": "short"},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
            "filterValues": {"le": 1e-9}, "legend": {"show": True}, "rowsFrame": {"layout": "auto"},
            "tooltip": {"show": True, "yHistogram": False}, "showValue": "never",
            "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
        },
    )  # fmt: skip


def table(
    title: str, description: str, queries: tuple[Query, ...], columns: dict[str, tuple[str, str]], *,
    link: tuple[str, str, str] | None = None, hidden: tuple[str, ...] = (), empty: str = "no data", width: int = 24,
) -> Panel:  # fmt: skip
    """Rows by labels. `columns`: a field as Grafana names it -> its heading and unit, sorted by the last one; `hidden` others.

    `link`: the heading whose cells are links, their title, and where they lead.
    """
    headings = list(columns.values())
    overrides = [
        {
            "matcher": {"id": "byName", "options": heading},
            "properties": [{"id": "unit", "value": unit}],
        }
        for heading, unit in headings
        if unit
    ]
    if link:
        heading, link_title, url = link
        linked: Json = {"id": "links", "value": [{"title": link_title, "url": url, "targetBlank": False}]}
        overrides.append({"matcher": {"id": "byName", "options": heading}, "properties": [linked]})
    organize: Json = {
        "indexByName": {name: place for place, name in enumerate(columns)},
        "renameByName": {name: heading for name, (heading, _) in columns.items()},
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
    }
    return Panel(
        "table", title, description, "short", queries, width,
        options={"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": headings[-1][0], "desc": True}]},
        custom={"align": "auto", "filterable": True},
        overrides=tuple(overrides),
        transformations=({"id": "merge", "options": {}}, {"id": "organize", "options": organize}),
        no_value=empty,
    )  # fmt: skip


def timeline(
    title: str, description: str, *queries: Query, mappings: Sequence[Json], width: int = 24
) -> Panel:
    """A state over time, a bar for each series."""
    return Panel(
        "state-timeline", title, description, "none", queries, width,
        options={
            "mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.8,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        custom={"lineWidth": 0, "fillOpacity": 80},
        defaults={"mappings": list(mappings)},
    )  # fmt: skip


def values(**meanings: tuple[str, str]) -> list[Json]:
    """What a number means: v0=("no", RED) shows 0 as a red "no"."""
    options = {
        name.removeprefix("v"): {"text": text, "color": colour, "index": place}
        for place, (name, (text, colour)) in enumerate(meanings.items())
    }
    return [{"type": "value", "options": options}]


def by_status() -> tuple[Json, ...]:
    """Each status in its own colour, wherever it is drawn."""
    return tuple(
        {
            "matcher": {"id": "byName", "options": status},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for status, colour in STATUS_COLOURS.items()
    )


@dataclass(frozen=True)
class Row:
    """A heading, and panels side by side under it, wrapped at 24 columns."""

    title: str
    height: int
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label, several or all."""

    name: str
    label: str
    series: str
    everything: str = ".*"
    """What stands for all: `.*` also matches series without the label."""

    def json(self, label: str) -> Json:
        query = f"label_values({self.series}, {label})"
        return {
            "type": "query", "name": self.name, "label": self.label, "datasource": DATASOURCE, "definition": query,
            "query": {"query": query, "refId": f"variable-{self.name}"}, "refresh": 2, "sort": 1, "multi": True,
            "includeAll": True, "allValue": self.everything, "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [], "hide": 0, "skipUrlSync": False, "regex": "",
        }  # fmt: skip


def lay_out(rows: Sequence[Row]) -> list[Json]:
    """The rows and their panels with their places, numbered from 1."""
    shown: list[Json] = []
    y = 0
    for row in rows:
        place: Json = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        shown.append(
            {
                "id": len(shown) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        y += 1
        x = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + row.height
            shown.append(panel.json(len(shown) + 1, x, y, row.height))
            x += panel.width
        y += row.height
    return shown
