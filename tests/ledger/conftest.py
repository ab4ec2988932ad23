"""The stores under test."""

from collections.abc import Iterator

import pytest

from infobip_sandbox.postgres import Postgres
from tests.alerting.servers import free_address
from tests.databases import pgbouncer


@pytest.fixture(scope="session")
def pooled(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Parameters of a URL that lead to the server by way of PgBouncer."""
    port = int(free_address().rpartition(":")[2])
    folder = server.folder / "pool"
    folder.mkdir()
    with pgbouncer(server, folder, port) as host:
        yield f"host={host}&port={port}"
