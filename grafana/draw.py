"""Draws the dashboards' figures and lines from a running Prometheus, for where no Grafana is at hand.

`python -m grafana.draw http://localhost:9090 docs/pictures [MINUTES]` (needs matplotlib, and httpx). The queries are the
dashboards' own; the drawing is not Grafana's.
"""

import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import DateFormatter, date2num
from matplotlib.ticker import FuncFormatter

from grafana.build import dashboards
from grafana.panels import STATUS_COLOURS, Json

COLUMNS = 2
MOST_PANELS = 8
MOST_FIGURES = 12
CURRENCY = "EUR"
"""Of the panels that there are for each currency this one is drawn."""
COLOURS = STATUS_COLOURS | {"ACCEPTED": "skyblue"}


def main(url: str, folder: str, minutes: str = "60") -> None:
    mpl.use("Agg")
    source = Source(url, int(minutes) * 60)
    for board in dashboards():
        draw(board, source, Path(folder) / f"{board['uid']}.png")


class Source:
    """A Prometheus, asked about the last `range_s` seconds."""

    def __init__(self, url: str, range_s: int) -> None:
        self.url = url
        self.range_s = range_s
        self.now_s = time.time()
        self.step_s = max(range_s // 240, 5)

    def figure(self, expr: str) -> list[Json]:
        return self._get("query", expr, time=self.now_s)

    def lines(self, expr: str) -> list[Json]:
        return self._get(
            "query_range", expr, start=self.now_s - self.range_s, end=self.now_s, step=self.step_s
        )

    def _get(self, path: str, expr: str, **parameters: float) -> list[Json]:
        # What is left of names are choices, of which all are chosen.
        for name, value in (
            (r"__range_s", f"{self.range_s}"), (r"__range", f"{self.range_s}s"), (r"__rate_interval", f"{4 * self.step_s}s"),
            (r"__interval", f"{self.step_s}s"), ("fine", "DELIVERED"), ("campaign", ".+"), (r"\w+", ".*"),
        ):  # fmt: skip
            expr = re.sub(rf"\${name}\b", value, expr)
        answer = httpx.get(
            f"{self.url}/api/v1/{path}", params={"query": expr, **parameters}, timeout=60
        ).json()
        result: list[Json] = answer["data"]["result"]
        return result


def draw(board: Json, source: Source, path: Path) -> None:
    figures = [panel for panel in board["panels"] if panel["type"] == "stat"][:MOST_FIGURES]
    drawn = [
        json.loads(json.dumps(panel).replace("$currency", CURRENCY)) if panel.get("repeat") else panel
        for panel in board["panels"]
        if panel["type"] in {"timeseries", "heatmap"}
    ]
    shown = [panel for panel in drawn if any(source.lines(each["expr"]) for each in panel["targets"])]
    panels = shown[:MOST_PANELS]
    rows = -(-len(panels) // COLUMNS)
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    above = -(-len(figures) // 6)
    page = plt.figure(figsize=(13, 0.4 + above + 2.5 * rows), layout="constrained")
    grid = page.add_gridspec(above + rows, 6, height_ratios=[*[1] * above, *[2.5] * rows])
    page.suptitle(board["title"], fontweight="bold")
    for place, panel in enumerate(figures):
        draw_figure(page.add_subplot(grid[divmod(place, 6)]), panel, source)
    for place, panel in enumerate(panels):
        column = place % COLUMNS * 3
        axes = page.add_subplot(grid[above + place // COLUMNS, column : column + 3])
        axes.set_title(panel["title"], loc="left", fontsize=9)
        (draw_heatmap if panel["type"] == "heatmap" else draw_lines)(axes, panel, source)
        axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]
    page.savefig(path, dpi=90)
    plt.close(page)


def draw_figure(axes: Axes, panel: Json, source: Source) -> None:
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    meanings = {
        key: value["text"] for each in defaults.get("mappings", []) for key, value in each["options"].items()
    }
    words = []
    for each in source.figure(panel["targets"][0]["expr"]):
        number = float(each["value"][1])
        shown = meanings.get(f"{number:g}", written(number, defaults["unit"], defaults.get("decimals")))
        words.append(f"{shown} {each['metric'].get('currency', '')}".strip())
    text = "\n".join(words) or defaults["noValue"]
    axes.text(
        0.5, 0.3, text, ha="center", va="center", fontsize=16 if len(words) < 2 else 9, color="tab:blue"
    )
    axes.text(0.5, 0.95, panel["title"], ha="center", va="center")


def draw_lines(axes: Axes, panel: Json, source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    below: dict[float, float] = {}
    cycle = (f"C{number % 10}" for number in range(1000))
    for target in panel["targets"]:
        for series in source.lines(target["expr"]):
            points = {float(moment): float(value) for moment, value in series["values"]}
            name = legend(target["legendFormat"], series["metric"])
            moments = [day(moment) for moment in points]
            colour = COLOURS.get(name) or next(cycle)
            bottoms = [below.get(moment, 0.0) for moment in points]
            if defaults["custom"]["drawStyle"] == "bars":
                axes.bar(
                    moments, list(points.values()), source.step_s / 86400, bottoms, label=name, color=colour
                )
            elif stacked:
                tops = [value + bottom for value, bottom in zip(points.values(), bottoms, strict=True)]
                axes.fill_between(moments, bottoms, tops, label=name, color=colour, alpha=0.7, linewidth=0)
            else:
                axes.plot(moments, list(points.values()), label=name, color=colour, linewidth=1)
            if stacked:
                below |= {moment: value + below.get(moment, 0.0) for moment, value in points.items()}
    axes.xaxis_date()
    if "min" in defaults:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, defaults["unit"])))
    axes.legend(fontsize=6, ncols=2, loc="upper left", framealpha=0.7)


def draw_heatmap(axes: Axes, panel: Json, source: Source) -> None:
    buckets = sorted(source.lines(panel["targets"][0]["expr"]), key=lambda each: float(each["metric"]["le"]))
    moments = sorted({float(moment) for each in buckets for moment, _ in each["values"]})
    cumulated = [{float(moment): float(value) for moment, value in each["values"]} for each in buckets]
    rows = [
        [max(row.get(moment, 0.0) - under.get(moment, 0.0), 0.0) for moment in moments]
        for row, under in zip(cumulated, [{}, *cumulated], strict=False)
    ]
    numbers = [day(moment) for moment in moments]
    axes.pcolormesh(
        numbers, range(len(rows)), rows, cmap="Oranges", norm=LogNorm(vmin=0.5), shading="nearest"
    )
    axes.xaxis_date()
    axes.set_yticks(range(len(rows)), [each["metric"]["le"] for each in buckets], fontsize=5)


def day(moment_s: float) -> float:
    """As matplotlib counts time."""
    number: float = date2num(datetime.fromtimestamp(moment_s, UTC))  # type: ignore[no-untyped-call]
    return number


def legend(pattern: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), pattern).strip() or "(none)"


def written(value: float, unit: str, decimals: int | None = None) -> str:
    if unit == "percentunit":
        return f"{value:.{1 if decimals is None else decimals}%}"
    if unit == "s":
        if value < 120:
            return f"{value:.3g} s"
        return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
    if unit == "dateTimeAsIso":
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%H:%M:%S")
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    text = f"{value:,.{0 if decimals is None else decimals}f}"
    if decimals is None and value < 1000:
        text = f"{value:,.3g}"
    suffix = unit.removeprefix("suffix:")
    return text if suffix == unit else text + suffix


if __name__ == "__main__":
    main(*sys.argv[1:])
