"""PostgreSQL and PgBouncer for tests: one server for the whole run, a database for each test."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from infobip_sandbox.postgres import USER, Postgres, as_user, give_to_user, programs

needs_postgres = pytest.mark.skipif(programs() is None, reason="postgresql is not on this machine")


def new_database(server: Postgres) -> str:
    """The name of an empty one."""
    name = f"t{secrets.token_hex(6)}"
    server.run(f"CREATE DATABASE {name}")
    return name


@contextmanager
def pgbouncer(server: Postgres, folder: Path, port: int, **settings: object) -> Iterator[str]:
    """The host to be named in a URL instead of the server's: PgBouncer, which pools transactions."""
    give_to_user(folder)
    options = {
        "unix_socket_dir": folder,
        "listen_port": port,
        "listen_addr": "127.0.0.1",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 2,
        "max_prepared_statements": None,
        "server_reset_query_always": 1,
        "pidfile": folder / "pgbouncer.pid",
        "logfile": folder / "pgbouncer.log",
        **settings,
    }
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={server.folder} user={USER}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in options.items() if value is not None)
    )
    with subprocess.Popen([*as_user(), "/usr/sbin/pgbouncer", "-q", str(config)]) as process:
        try:
            _wait(f"postgresql:///postgres?host={folder}&port={port}&user={USER}")
            yield str(folder)
        finally:
            process.terminate()


def _wait(url: str) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return
