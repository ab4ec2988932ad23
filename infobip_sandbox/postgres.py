"""A PostgreSQL server of one's own, on a unix socket in a folder: for the demo, tests, simulation and benchmarks."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

USER = "postgres"
START_S = 30.0
MISSING = "needs PostgreSQL on this machine (Debian and Ubuntu: apt install postgresql), no initdb was found"


def programs() -> Path | None:
    """The folder with PostgreSQL's own programs, the newest; None where there are none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    return folders[-1].parent if folders else None


class Postgres:
    """A server with its files in `folder`. It refuses to run as root: then it runs as the user postgres."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        where = programs()
        if where is None:
            raise FileNotFoundError(MISSING)
        self._programs = where
        give_to_user(self.folder)
        subprocess.run(
            [
                *as_user(),
                str(where / "initdb"),
                f"--pgdata={self.folder / 'data'}",
                f"--username={USER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--locale=C",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self) -> None:
        options = ("listen_addresses=", f"unix_socket_directories={self.folder}", *self._settings)
        with (self.folder / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *as_user(),
                    str(self._programs / "postgres"),
                    "-D",
                    str(self.folder / "data"),
                    *(word for option in options for word in ("-c", option)),
                ],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, *, at_once: bool = False) -> None:
        """End it, and every connection. `at_once`: as a crash would."""
        if self._process is not None:
            self._process.send_signal(3 if at_once else 2)
            self._process.wait()
            self._process = None

    def run(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """What an administrator's statement gives."""
        writes = "-c default_transaction_read_only=off"
        with psycopg.connect(self.url(database), autocommit=True, options=writes) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str, **more: str) -> str:
        parameters = "&".join(f"{name}={value}" for name, value in {"host": self.folder, **more}.items())
        return f"postgresql:///{database}?user={USER}&{parameters}"


@contextmanager
def postgres(settings: Sequence[str] = ("fsync=off",)) -> Iterator[Postgres]:
    """A server that ends, with all it holds, when the block is left."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # short: it is part of a socket's path
        server = Postgres(Path(folder), settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop(at_once=True)


def as_user() -> list[str]:
    """What to put before a command that must not run as root."""
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []


def give_to_user(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
