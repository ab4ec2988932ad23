"""What dashboards are made of, as plain values of Grafana's classic dashboard schema.

Version 38 of the schema is Grafana 10's; later ones migrate it when they load it. Nothing here is optional in a panel
that a reader needs: a title, a description, a unit, and "no data" where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


Steps = tuple[tuple[float | None, str], ...]
"""Thresholds: the colour by the value from which it holds."""


def _panel(
    kind: str, title: str, description: str, unit: str, queries: Sequence[Query], width: int, steps: Steps = ((None, GREEN),), *,
    options: Json, custom: Json | None = None, defaults: Json | None = None, overrides: Sequence[Json] = (),
    no_value: str = "no data", **more: Any,
) -> Json:  # fmt: skip
    """Anything but a row, `width` of 24 columns wide; `lay_out` gives it its number and place. What of `more` is None is left out."""
    colours = "thresholds" if kind in {"stat", "gauge"} else "palette-classic"
    return {
        "id": 0,
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "noValue": no_value,
                "color": {"mode": colours},
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": colour} for value, colour in steps],
                },
                "custom": custom or {},
                **(defaults or {}),
            },
            "overrides": list(overrides),
        },
        "options": options,
        "targets": [_target(query, ref) for query, ref in zip(queries, "ABCDEFGH", strict=False)],
        **{name: value for name, value in more.items() if value is not None},
    }


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
    steps: Steps = ((None, BLUE),), mappings: Sequence[Json] = (),
    time_from: str | None = None, text: str = "auto",
) -> Json:  # fmt: skip
    """One figure, or one for each series with its legend as its name. `time_from`: its own range, such as now/d for today."""
    return _panel(
        "stat", title, description, unit, (Query(expr, legend, instant=True),), width, steps,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "orientation": "auto", "textMode": text, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        },
        defaults=({} if decimals is None else {"decimals": decimals}) | ({"mappings": list(mappings)} if mappings else {}),
        timeFrom=time_from,
    )  # fmt: skip


def lines(
    title: str, description: str, unit: str, *queries: Query, width: int = 12, stacked: bool = False, bars: bool = False,
    steps: Steps = ((None, GREEN),), overrides: tuple[Json, ...] = (),
    maximum: float | None = None, minimum: float | None = 0, repeat: str | None = None,
) -> Json:  # fmt: skip
    """Lines over time; `stacked` areas or `bars`. Gaps stay gaps. Steps other than the first are drawn as lines.

    `repeat`: the variable of which each chosen value gets a panel of its own.
    """
    return _panel(
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
        overrides=overrides, interval="1m" if bars else None,
        repeat=repeat, repeatDirection="h" if repeat else None, maxPerRow=3 if repeat else None,
    )  # fmt: skip


def _of(name: str, *properties: Json) -> Json:
    """What holds for the line or column of this name alone."""
    return {"matcher": {"id": "byName", "options": name}, "properties": list(properties)}


def on_the_right(name: str, unit: str) -> Json:
    """The line of this name has an axis of its own."""
    return _of(
        name,
        {"id": "unit", "value": unit},
        {"id": "custom.axisPlacement", "value": "right"},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [4, 4]}},
    )


def heatmap(title: str, description: str, expr: str, width: int = 12) -> Json:
    """A Prometheus histogram of seconds over time."""
    return _panel(
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
    title: str, description: str, exprs: Sequence[str], columns: dict[str, tuple[str, str]], *,
    link: tuple[str, str, str] | None = None, hidden: tuple[str, ...] = (), empty: str = "no data", width: int = 24,
) -> Json:  # fmt: skip
    """Rows by the labels of what `exprs` give. `columns`: a field as Grafana names it -> its heading and unit, sorted by the last one; `hidden` others.

    `link`: the heading whose cells are links, their title, and where they lead.
    """
    headings = list(columns.values())
    overrides = [_of(heading, {"id": "unit", "value": unit}) for heading, unit in headings if unit]
    if link:
        heading, link_title, url = link
        linked = [{"title": link_title, "url": url, "targetBlank": False}]
        overrides.append(_of(heading, {"id": "links", "value": linked}))
    organize: Json = {
        "indexByName": {name: place for place, name in enumerate(columns)},
        "renameByName": {name: heading for name, (heading, _) in columns.items()},
        "excludeByName": dict.fromkeys(("Time", *hidden), True),
    }
    return _panel(
        "table", title, description, "short", [Query(expr, instant=True, format="table") for expr in exprs], width,
        options={"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": headings[-1][0], "desc": True}]},
        custom={"align": "auto", "filterable": True},
        overrides=overrides,
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
        no_value=empty,
    )  # fmt: skip


def timeline(
    title: str, description: str, *queries: Query, mappings: Sequence[Json], width: int = 24
) -> Json:
    """A state over time, a bar for each series."""
    return _panel(
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
        _of(status, {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}})
        for status, colour in STATUS_COLOURS.items()
    )


@dataclass(frozen=True)
class Row:
    """A heading, and panels side by side under it, wrapped at 24 columns."""

    title: str
    height: int
    panels: Sequence[Json]


def lay_out(rows: Sequence[Row]) -> list[Json]:
    """The rows and their panels with their places, numbered from 1."""
    shown: list[Json] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        heading = {"type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        shown.append({"id": len(shown) + 1, **heading})
        y += 1
        x = 0
        for panel in row.panels:
            width = panel["gridPos"]["w"]
            if x + width > COLUMNS:
                x, y = 0, y + row.height
            place = {"x": x, "y": y, "w": width, "h": row.height}
            shown.append(panel | {"id": len(shown) + 1, "gridPos": place})
            x += width
        y += row.height
    return shown
