"""Replicas on a real PostgreSQL live through the first worlds; `make sim-replicas` has more."""

import pytest

from infobip_sandbox.postgres import Postgres
from simulation.replicas import run
from tests.databases import needs_postgres


@needs_postgres
@pytest.mark.parametrize("seed", [0, 2])
def test_a_world_of_replicas(server: Postgres, seed: int) -> None:
    assert run(seed, server).problems == []
