"""Exporters that end with their test, however it goes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.programs import NO_LIMIT, QUICK, Exporter, Sandbox, account, sandbox, wait_for_truth
from tests.end_to_end.states import keep_state_at

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


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """An API, and the state of an exporter that has counted all of it and was stopped."""
    with sandbox(*QUICK, *NO_LIMIT) as api:
        exporter = Exporter(tmp_path_factory.mktemp("counted"), {"accounts": [account(api)]})
        try:
            exporter.start(wait_until_ready=True)
            api.lively_for(2, per_second=50)
            wait_for_truth(exporter, api)
            assert exporter.stop() == 0
        finally:
            exporter.end_whatever_happens()
        yield api, exporter.state


@pytest.fixture
def stopped(counted: tuple[Sandbox, Path], make_exporter: MakeExporter) -> Exporter:
    """An exporter with a copy of that state, in a folder that holds nothing else."""
    exporter = make_exporter({})
    keep_state_at(exporter, exporter.folder / "own" / "state.db", counted)
    return exporter
