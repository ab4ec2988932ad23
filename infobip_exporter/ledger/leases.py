"""Which replica owns which feed. The rules are values; `Leases` writes them down in the database.

A replica has a row that it renews. Whoever finds the row of another one expired, by the database's clock, removes it:
that replica is dead from then on, owns nothing, and a process that wakes up later must begin as a new replica. A feed
whose owner has no row is free; it is taken by compare-and-set on its epoch, which the new owner raises.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from infobip_exporter.ledger.postgres_connections import Connections, Row
from infobip_exporter.ledger.postgres_schema import migrate
from infobip_exporter.metrics.zero_start import Moment

Key = tuple[str, str]
"""Account and channel of a feed."""


class Lease:
    """For how long this process may be sure that nobody else owns its feeds.

    Of two clocks one finds out a process that was stopped, or a machine that slept.
    """

    def __init__(self, lease_s: float, now: Callable[[], Moment] = Moment.now) -> None:
        self.lease_s = lease_s
        self.replica = ""
        """What this process is called in the database; a new one after each time it was taken for dead."""
        self._now = now
        self._renewed: Moment | None = None
        self._over = False

    def holds(self) -> bool:
        return self.left_s() > 0

    def left_s(self) -> float:
        if self._renewed is None or self._over:
            return 0.0
        now = self._now()
        passed_s = max(now.monotonic_s - self._renewed.monotonic_s, now.wall_s - self._renewed.wall_s)
        return self.lease_s - passed_s

    def asking(self) -> Moment:
        """To be called before the database is asked to renew."""
        return self._now()

    def renewed(self, replica: str, asked: Moment) -> None:
        """The database has renewed the lease, some time after `asked`."""
        self.replica, self._renewed = replica, asked

    def lost(self) -> None:
        """Until it is renewed."""
        self._renewed = None

    def end(self) -> None:
        """For good: this process shows nothing any more, and asks nothing."""
        self._over = True


class FeedRow(NamedTuple):
    """A feed as the database lists it. `owner` is empty when nobody who is alive owns it."""

    feed_id: int
    account: str
    channel: str
    owner: str
    epoch: int
    wanted_by: str
    free_s: float
    """How long it has been free, where it was given up."""
    behind_s: float | None
    """Age of the oldest sent time not yet read, by the database's clock."""

    @property
    def key(self) -> Key:
        return self.account, self.channel


class ReplicaRow(NamedTuple):
    """A replica that is alive."""

    name: str
    heard_s: float
    """How long ago it renewed its lease."""


@dataclass(frozen=True, slots=True)
class Directory:
    """All feeds and all replicas, at one moment."""

    feeds: Sequence[FeedRow] = ()
    replicas: Mapping[str, ReplicaRow] = field(default_factory=dict)
    """By id."""


class Decision(NamedTuple):
    """What a replica does next. All are feeds' rows."""

    take: Sequence[FeedRow]
    ask_for: Sequence[FeedRow]
    give: Sequence[FeedRow]


def decide(me: str, wanted: Collection[Key], directory: Directory, lease_s: float) -> Decision:
    """Divide the feeds evenly, each replica by itself: take free ones up to a fair share, ask the richest for more.

    `wanted` are the feeds of this replica's configuration. A feed that nobody takes within a lease (replicas may differ
    in what they want) is taken beyond the share.
    """
    ours = [row for row in directory.feeds if row.key in wanted]
    alive = directory.replicas
    mine = [row for row in ours if row.owner == me]
    free = [row for row in ours if not row.owner]
    share, rest = divmod(len(ours), max(1, len(alive)))
    room = max(0, share + (rest > 0) - len(mine))
    take = [*free[:room], *(row for row in free[room:] if row.free_s > lease_s)]
    owned = Counter(row.owner for row in ours if row.owner)
    ask_for: list[FeedRow] = []
    if not free:
        missing = share - len(mine) - sum(row.wanted_by == me for row in ours)
        askable = [row for row in ours if row.owner not in ("", me) and row.wanted_by not in alive]
        while missing > len(ask_for) and askable:
            row = max(askable, key=lambda each: owned[each.owner])
            if owned[row.owner] <= share:
                break
            owned[row.owner] -= 1
            askable.remove(row)
            ask_for.append(row)
    return Decision(
        take,
        ask_for,
        [
            row
            for row in directory.feeds
            if row.owner == me and (row.key not in wanted or row.wanted_by in alive.keys() - {me})
        ],
    )


class Leases:
    """What a replica does in the database. Every method raises LedgerError and may block.

    `name` is what people know this process by.
    """

    def __init__(self, connections: Connections, lease: Lease, name: str) -> None:
        self._connections = connections
        self._lease = lease
        self._name = name

    def join(self) -> None:
        """Become a replica."""
        migrate(self._connections)
        replica = secrets.token_hex(8)
        asked = self._lease.asking()
        self._run(
            "INSERT INTO replica VALUES (%(id)s, %(name)s, now() + %(lease)s * interval '1 second')"
            " ON CONFLICT DO NOTHING",
            {"id": replica, "name": self._name, "lease": self._lease.lease_s},
        )
        self._lease.renewed(replica, asked)

    def add(self, wanted: Collection[Key]) -> None:
        """Rows for the feeds that are new."""
        self._run(
            "INSERT INTO feed (account, channel)"
            " SELECT * FROM unnest(%(accounts)s::text[], %(channels)s::text[]) AS wanted (account, channel)"
            " WHERE NOT EXISTS (SELECT 1 FROM feed WHERE feed.account = wanted.account AND feed.channel = wanted.channel)"
            " ON CONFLICT DO NOTHING",
            {"accounts": [account for account, _ in wanted], "channels": [channel for _, channel in wanted]},
        )

    def renew(self) -> bool:
        """Renew the lease. False if this replica was taken for dead."""
        asked = self._lease.asking()
        rows = self._run(
            "UPDATE replica SET expires_at = now() + %(lease)s * interval '1 second' WHERE id = %(me)s RETURNING 1",
            {"me": self._lease.replica, "lease": self._lease.lease_s},
        )
        if not rows:
            self._lease.lost()
            return False
        self._lease.renewed(self._lease.replica, asked)
        return True

    def stirred(self) -> tuple[int, int]:
        """How many feeds are free and how many replicas have expired: cheap, to be asked often."""
        [(free, expired)] = self._run(
            "SELECT (SELECT count(*) FROM feed WHERE owner IS NULL),"
            " (SELECT count(*) FROM replica WHERE expires_at < now())"
        )
        return free, expired

    def look(self) -> Directory:
        """Remove the dead, and list the rest."""
        self._run("DELETE FROM replica WHERE expires_at < now()")
        # The feeds first: whoever has taken one by now is among the replicas that are listed afterwards.
        rows = self._run(
            "SELECT id, account, channel, coalesce(owner, ''), epoch, coalesce(wanted_by, ''),"
            " extract(epoch FROM now() - free_since)::float,"
            " extract(epoch FROM now())::float - read_up_to_ms / 1000.0::float FROM feed ORDER BY id"
        )
        replicas = {
            replica: ReplicaRow(name, self._lease.lease_s - left_s)
            for replica, name, left_s in self._run(
                "SELECT id, name, extract(epoch FROM expires_at - now())::float FROM replica"
            )
        }
        feeds = [FeedRow(*row) for row in rows]
        return Directory(
            [row if row.owner in replicas else row._replace(owner="") for row in feeds], replicas
        )

    def take(self, rows: Sequence[FeedRow]) -> None:
        """Become the owner of those that nobody has taken meanwhile; `look` shows which."""
        self._run(
            "UPDATE feed SET owner = %(me)s, epoch = feed.epoch + 1, wanted_by = NULL"
            " FROM unnest(%(ids)s::bigint[], %(epochs)s::bigint[]) AS seen (id, epoch)"
            " WHERE feed.id = seen.id AND feed.epoch = seen.epoch"
            " AND EXISTS (SELECT 1 FROM replica WHERE replica.id = %(me)s)",
            {
                "me": self._lease.replica,
                "ids": [row.feed_id for row in rows],
                "epochs": [row.epoch for row in rows],
            },
        )

    def ask_for(self, rows: Sequence[FeedRow]) -> None:
        self._run(
            "UPDATE feed SET wanted_by = %(me)s"
            " FROM unnest(%(ids)s::bigint[], %(owners)s::text[]) AS seen (id, owner)"
            " WHERE feed.id = seen.id AND feed.owner = seen.owner",
            {
                "me": self._lease.replica,
                "ids": [row.feed_id for row in rows],
                "owners": [row.owner for row in rows],
            },
        )

    def give(self, rows: Sequence[FeedRow]) -> None:
        self._run(
            "UPDATE feed SET owner = NULL, wanted_by = NULL, free_since = now()"
            " WHERE id = ANY(%(ids)s::bigint[]) AND owner = %(me)s",
            {"me": self._lease.replica, "ids": [row.feed_id for row in rows]},
        )

    def leave(self) -> None:
        """Give up everything at once."""
        self._lease.end()
        self._run(
            "WITH gone AS (DELETE FROM replica WHERE id = %(me)s)"
            " UPDATE feed SET owner = NULL, wanted_by = NULL, free_since = now() WHERE owner = %(me)s",
            {"me": self._lease.replica},
        )

    def _run(self, statement: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        return self._connections.run(statement, parameters, within_s=self._lease.lease_s)
