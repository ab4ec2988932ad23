"""Writes the dashboards that users import: `python -m grafana.build`."""

import json
from pathlib import Path

from grafana.campaigns import campaigns
from grafana.cost import cost
from grafana.delivery import delivery
from grafana.exporter import exporter
from grafana.panels import Json

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> list[Json]:
    return [delivery(), cost(), campaigns(), exporter()]


def files() -> dict[Path, str]:
    """Each dashboard's file and text."""
    return {
        FOLDER / f"{each['uid']}.json": json.dumps(each, indent=2, ensure_ascii=False) + "\n"
        for each in dashboards()
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
