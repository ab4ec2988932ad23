"""kill -9 at drawn instants, and disks that are full for a while."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from simulation.time import WorldTime
from simulation.trace import Trace

T = TypeVar("T")


class Killed(SystemExit):
    """The process is gone. What was not committed never happened.

    A SystemExit, for that is what an event loop lets through at once, whichever task it comes from.
    """


@dataclass(slots=True)
class Process:
    """One life of the process."""

    alive: bool = True


@dataclass(slots=True)
class Fate:
    """When the process dies and the disk is full. Every instant at which a kill makes a difference asks `point`.

    `mean_points` is how many of those instants lie between two kills on the average, 0 for no kill ever; `most` is
    how often the process is killed altogether. `disk_full` are stretches of true time, in seconds; `statements_fail` is
    how likely the disk fails amid a transaction.
    """

    rng: Random
    trace: Trace
    time: WorldTime
    mean_points: float = 0.0
    most: int = 0
    disk_full: Sequence[tuple[float, float]] = ()
    statements_fail: float = 0.0
    slowest_commit_s: float = 0.0
    kills: int = 0
    process: Process = field(default_factory=Process)
    writes_failed: int = 0
    """Writes that failed."""
    _statements: Random = field(init=False)
    _left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._statements = Random(f"statements {self.statements_fail}")
        self._draw()

    def _draw(self) -> None:
        self._left = 1 + round(self.rng.expovariate(1 / self.mean_points)) if self.mean_points else -1

    def point(self, process: Process, where: str) -> None:
        """Raises Killed where the process dies here, or is dead already."""
        if not process.alive:
            raise Killed(where)
        if self._left < 0 or self.kills >= self.most:
            return
        self._left -= 1
        if self._left == 0:
            self.kills += 1
            self._draw()
            self.trace("KILLED", where)
            process.alive = False
            raise Killed(where)

    def write(self) -> None:
        """A write to the disk. Raises what SQLite raises when there is no room."""
        if any(a <= self.time.now_s < b for a, b in self.disk_full):
            self.writes_failed += 1
            raise sqlite3.OperationalError("database or disk is full")

    def statement(self) -> None:
        """A statement amid a transaction. Raises what SQLite raises when the disk fails for a moment."""
        if self._statements.random() < self.statements_fail:
            self.writes_failed += 1
            raise sqlite3.OperationalError("disk I/O error")


@dataclass(slots=True)
class InlineWorker:
    """Runs work of the ledger where a real process has a thread: other tasks go on before and after it."""

    fate: Fate
    process: Process

    async def run(self, work: Callable[[], T]) -> T:
        self.fate.point(self.process, "before work")
        if self.fate.slowest_commit_s:
            await asyncio.sleep(self.fate.rng.uniform(0, self.fate.slowest_commit_s))
        done = work()
        if self.fate.slowest_commit_s:
            await asyncio.sleep(self.fate.rng.uniform(0, self.fate.slowest_commit_s))
        self.fate.point(self.process, "after work")
        return done


class MortalConnection:
    """A connection to SQLite that dies with its process, just before or just after a commit."""

    def __init__(self, connection: sqlite3.Connection, fate: Fate, process: Process) -> None:
        self._connection = connection
        self._fate = fate
        self._process = process

    @property
    def in_transaction(self) -> bool:
        return self._process.alive and self._connection.in_transaction

    def cursor(self) -> "MortalCursor":
        self._fate.point(self._process, "before a statement")
        return MortalCursor(self._connection.cursor(), self._fate, self._process)

    def execute(self, statement: str) -> sqlite3.Cursor:
        self._fate.point(self._process, "before a statement")
        return self._connection.execute(statement)


class MortalCursor:
    def __init__(self, cursor: sqlite3.Cursor, fate: Fate, process: Process) -> None:
        self._cursor = cursor
        self._fate = fate
        self._process = process

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        self._fate.point(self._process, "amid a transaction")
        self._fate.statement()
        return self._cursor.executemany(statement, rows)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if statement != "COMMIT":
            return self._cursor.execute(statement, parameters)
        self._fate.write()
        self._fate.point(self._process, "before COMMIT")
        done = self._cursor.execute(statement)
        self._fate.point(self._process, "after COMMIT")
        return done
