"""A real PostgreSQL in a simulated world: its clock is the world's, and its answers get lost."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from infobip_exporter.errors import LeaseLost, LedgerAway
from infobip_exporter.ledger.postgres import PostgresStore, PostgresTables
from infobip_exporter.ledger.postgres_connections import Connections
from infobip_exporter.ledger.postgres_schema import migrate
from infobip_exporter.ledger.store import Held, Messages, Saved, Writes
from infobip_exporter.model.series import Series
from infobip_sandbox.postgres import Postgres
from simulation.trace import Trace
from simulation.violation import Violated

# The product's statements say now(): found in this schema first, it tells the world's time.
CLOCK = """
CREATE SCHEMA sim;
CREATE TABLE sim.clock (at timestamptz NOT NULL);
INSERT INTO sim.clock VALUES ('epoch');
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM sim.clock';
"""
LONGEST_HELD_UP_S = 60.0


class SharedDatabase:
    """The database of one world. `now_s` gives its time in seconds since the epoch."""

    def __init__(self, server: Postgres, name: str, now_s: Callable[[], float]) -> None:
        server.run(f"CREATE DATABASE {name}")
        server.run(CLOCK, name)
        self._server, self._name, self._now_s = server, name, now_s
        self.connections = Connections(
            server.url(name, options="-csearch_path%3Dsim,pg_catalog%20-csynchronous_commit%3Doff")
        )
        migrate(self.connections)
        self.commits: dict[int, str] = {}
        """By epoch, the replica whose commits took effect."""
        self.late: list[tuple[float, PostgresStore, Held, Writes]] = []
        """Commits that are still on their way, and when they arrive."""

    def set_clock(self) -> None:
        """To be called before anything is asked of the database."""
        now_s = self._now_s()
        self.connections.run("UPDATE clock SET at = to_timestamp(%(now)s)", {"now": now_s})
        due = [each for each in self.late if each[0] <= now_s]
        self.late = [each for each in self.late if each[0] > now_s]
        for _, store, held, writes in due:
            with suppress(LeaseLost):
                store.commit(held, writes)

    def stored(self, account: str, channel: str) -> "ReadOnlyStore":
        del account, channel
        return ReadOnlyStore(self.connections)

    def drop(self) -> None:
        self.connections.close()
        self._server.run(f"DROP DATABASE {self._name} WITH (FORCE)")


class ReadOnlyStore(PostgresStore):
    """Looks at a feed without owning it."""

    def __init__(self, connections: Connections) -> None:
        PostgresTables.__init__(self, connections.where, connections.run)

    def load(self, account: str, channel: str) -> Saved:
        rows = self._run(
            "SELECT id, progress FROM feed WHERE account = %(account)s AND channel = %(channel)s",
            {"account": account, "channel": channel},
        )
        if not rows:
            return Saved(Held(0))
        [(feed_id, progress)] = rows
        return self.saved(Held(feed_id), progress)


@dataclass
class TroubledStore:
    """A replica's store on a network that loses answers and holds up statements, in shares of the commits."""

    inner: PostgresStore
    database: SharedDatabase
    replica: str
    rng: Random
    trace: Trace
    share: float
    now_s: Callable[[], float]
    where: str = field(default="postgresql", init=False)
    failed: int = 0

    def load(self, account: str, channel: str) -> Saved:
        return self.inner.load(account, channel)

    def commit(self, held: Held, writes: Writes) -> None:
        fate = self.rng.random() / self.share if self.share else 9.0
        if fate < 0.4:
            self._note(held)
            raise self._failed("the answer of a commit was lost", self.inner.commit, held, writes)
        if fate < 0.8:
            held.commits += 1
            at_s = self.now_s() + self.rng.uniform(0, LONGEST_HELD_UP_S)
            late = Held(held.feed_id, held.epoch, held.commits - 1)
            self.database.late.append((at_s, self.inner, late, writes))
            raise self._failed("a commit is held up")
        if fate < 1:
            raise self._failed("a commit was lost")
        self.inner.commit(held, writes)
        self._note(held)

    def _note(self, held: Held) -> None:
        """At most one owner's commits take effect in an epoch."""
        owner = self.database.commits.setdefault(held.epoch, self.replica)
        if owner != self.replica:
            raise Violated(f"{owner} and {self.replica} have both written in epoch {held.epoch}")

    def _failed(
        self, what: str, work: Callable[..., None] = lambda *_: None, *arguments: object
    ) -> LedgerAway:
        work(*arguments)
        self.failed += 1
        self.trace(self.replica, what)
        return LedgerAway(what)

    def messages(self, held: Held, cells: Sequence[int]) -> dict[int, Messages]:
        return self.inner.messages(held, cells)

    def known_rejected(self, held: Held, fingerprints: Iterable[bytes]) -> set[bytes]:
        return self.inner.known_rejected(held, fingerprints)

    def released(self, held: Held) -> set[Series]:
        return self.inner.released(held)

    def save_released(self, held: Held, series: Collection[Series]) -> None:
        self.inner.save_released(held, series)

    def may_act(self) -> bool:
        return self.inner.may_act()

    def close(self) -> None:
        pass
