"""Exporters that end with their test, however it goes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.programs import Exporter

MakeExporter = Callable[[Mapping[str, Any]], Exporter]


@pytest.fixture
def make_exporter(tmp_path: Path) -> Iterator[MakeExporter]:
    """Give a configuration, get an exporter that has not been started yet."""
    made: list[Exporter] = []

    def make(config: Mapping[str, Any]) -> Exporter:
        made.append(Exporter(tmp_path / f"exporter-{len(made)}", config))
        return made[-1]

    yield make
    for exporter in made:
        exporter.end_whatever_happens()
