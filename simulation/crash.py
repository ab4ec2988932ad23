"""kill -9 at drawn instants, and disks that are full for a while."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simulation.time import VirtualTime
from simulation.trace import Trace


class Killed(BaseException):
    """The process is gone. What was not committed never happened."""


@dataclass(slots=True)
class Fate:
    """When the process dies and the disk is full. Every instant at which a kill makes a difference asks `point`.

    `mean_points` is how many of those instants lie between two kills on the average, 0 for no kill ever; `most` is
    how often the process is killed altogether. `disk_full` are stretches of virtual time, in seconds.
    """

    rng: Random
    trace: Trace
    mean_points: float = 0.0
    most: int = 0
    disk_full: Sequence[tuple[float, float]] = ()
    kills: int = 0
    time: VirtualTime | None = None
    """The time of the feed that is at work."""
    _left: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self._left = 1 + round(self.rng.expovariate(1 / self.mean_points)) if self.mean_points else -1

    def point(self, where: str) -> None:
        if self._left < 0 or self.kills >= self.most:
            return
        self._left -= 1
        if self._left == 0:
            self.kills += 1
            self._draw()
            self.trace("KILLED", where)
            raise Killed(where)

    def write(self) -> None:
        """A write to the disk. Raises what SQLite raises when there is no room."""
        if self.time is not None and any(a <= self.time.now_s < b for a, b in self.disk_full):
            raise sqlite3.OperationalError("database or disk is full")


class MortalConnection:
    """A connection to SQLite that dies with its process, just before or just after a commit."""

    def __init__(self, connection: sqlite3.Connection, fate: Fate) -> None:
        self._connection = connection
        self._fate = fate

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def cursor(self) -> "MortalCursor":
        return MortalCursor(self._connection.cursor(), self._fate)

    def execute(self, statement: str) -> sqlite3.Cursor:
        return self._connection.execute(statement)


class MortalCursor:
    def __init__(self, cursor: sqlite3.Cursor, fate: Fate) -> None:
        self._cursor = cursor
        self._fate = fate

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        self._fate.point("amid a transaction")
        return self._cursor.executemany(statement, rows)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if statement != "COMMIT":
            return self._cursor.execute(statement, parameters)
        self._fate.write()
        self._fate.point("before COMMIT")
        done = self._cursor.execute(statement)
        self._fate.point("after COMMIT")
        return done
