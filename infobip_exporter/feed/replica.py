"""A replica among others on one database: which feeds run here, and that nobody else runs them meanwhile."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.incidents import Incidents
from infobip_exporter.ledger.leases import Decision, Directory, FeedRow, Key, Lease, Leases, decide

TURN_EVERY_S = 0.5
"""How often a replica looks whether a feed has become free: one that leaves hands over within a second."""
RENEWALS = 3
"""How often a lease is renewed while it lasts."""
CUT_OFF_S = 300.0
"""For so long a replica that did not reach the API takes only what nobody else takes: feeds go to and fro no faster."""


class Feeds(Protocol):
    """The feeds that this process can run."""

    def wanted(self) -> Collection[Key]:
        """Those of the configuration."""

    def running(self) -> Collection[Key]:
        """Those that run here, and have not found out that they have another owner."""

    def unreached(self) -> Collection[Key]:
        """Those whose API has not been reached from here for so long that another replica should try."""

    async def begin(self, key: Key) -> None:
        """Run a feed, from its ledger. Raises LedgerError."""

    async def end(self, key: Key) -> None:
        """Show the feed no longer, and end it."""


class Replica:
    """Takes feeds, gives them up, and renews the lease on them.

    `directory` is what the database listed last. `reached` is whether the database has been reached at all.
    """

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        feeds: Feeds,
        clock: Clock,
        worker: Worker,
        log: FilteringBoundLogger,
    ) -> None:
        self.directory = Directory()
        self.reached = False
        self.lease = lease
        self._leases = leases
        self._feeds = feeds
        self._clock = clock
        self._worker = worker
        self._log = log
        self._incidents = Incidents(log, clock)
        self._joined = False
        self._known: frozenset[Key] = frozenset()
        """The feeds that have rows."""
        self._cut_off_until_s = float("-inf")
        self._calm: tuple[tuple[int, int], frozenset[Key]] | None = None
        """What `stirred` said and which feeds ran when there was nothing to do; None where all must be looked at."""

    async def run(self) -> None:
        """Take part until cancelled."""
        await asyncio.gather(self._keep_renewing(), self._keep_turning())

    async def leave(self) -> None:
        """Hand everything over at once. The feeds have been ended."""
        try:
            await self._worker.run(self._leases.leave)
        except LedgerError as error:
            self._log.warning("can't hand over, other replicas wait for the lease to end", error=str(error))

    async def _keep_renewing(self) -> None:
        while True:
            await self._clock.sleep(self.lease.lease_s / RENEWALS if self.lease.holds() else TURN_EVERY_S)
            if not self._joined:
                continue
            try:
                if not await self._worker.run(self._leases.renew):
                    self._log.warning("lease was lost, joining again as a new replica")
                    self._joined = False
            except LedgerError as error:
                self._incidents.began("state", str(error))
            self._calm = None

    async def _keep_turning(self) -> None:
        while True:
            try:
                await self.turn()
            except LedgerError as error:
                self._incidents.began("state", str(error))
                self._calm = None
            except Exception:  # noqa: BLE001 - whatever it was, the next turn may go well
                self._log.exception("internal error, continuing")
            await self._clock.sleep(TURN_EVERY_S)

    async def turn(self) -> None:
        """See what has changed among the replicas, and do this one's part. Raises LedgerError."""
        wanted = frozenset(self._feeds.wanted())
        if not self._joined:
            await self._end(self._feeds.running())
            await self._worker.run(self._leases.join)
            self._joined, self._calm = True, None
        if wanted != self._known:
            await self._worker.run(lambda: self._leases.add(wanted))
            self._known, self._calm = wanted, None
        stirred = await self._worker.run(self._leases.stirred)
        running = frozenset(self._feeds.running())
        if (stirred, running) == self._calm and not (self._feeds.unreached() and not self._is_cut_off):
            return
        directory = await self._look()
        decision = self._heed_reach(
            decide(self.lease.replica, wanted, directory, self.lease.lease_s), directory
        )
        if decision.give:
            await self._give(decision.give)
        if decision.take:
            await self._worker.run(lambda: self._leases.take(decision.take))
        if decision.ask_for:
            await self._worker.run(lambda: self._leases.ask_for(decision.ask_for))
        if any(decision):
            directory = await self._look()
        mine = {row.key for row in directory.feeds if row.owner == self.lease.replica and row.key in wanted}
        await self._end(set(self._feeds.running()) - mine)
        await asyncio.gather(*(self._feeds.begin(key) for key in mine.difference(self._feeds.running())))
        self._calm = None if any(decision) else (stirred, frozenset(self._feeds.running()))

    @property
    def _is_cut_off(self) -> bool:
        """Whether this replica has found out, not long ago, that it does not reach the API."""
        return self._clock.monotonic_s() < self._cut_off_until_s

    def _heed_reach(self, decision: Decision, directory: Directory) -> Decision:
        """Let others try the feeds whose API this replica does not reach, and for a while take only what nobody takes."""
        if self._is_cut_off:
            left = [row for row in decision.take if row.free_s > self.lease.lease_s]
            return decision._replace(take=left, ask_for=[])
        unreached = set(self._feeds.unreached())
        if not unreached or len(directory.replicas) < 2:
            return decision
        self._cut_off_until_s = self._clock.monotonic_s() + CUT_OFF_S
        self._log.warning("API is not reached from here, other replicas may try", feeds=len(unreached))
        give = [row for row in directory.feeds if row.owner == self.lease.replica and row.key in unreached]
        return Decision([], [], [*decision.give, *(row for row in give if row not in decision.give)])

    async def _look(self) -> Directory:
        self.directory = directory = await self._worker.run(self._leases.look)
        self.reached = True
        self._incidents.ended("state")
        return directory

    async def _give(self, rows: Sequence[FeedRow]) -> None:
        await self._end([row.key for row in rows])
        await self._worker.run(lambda: self._leases.give(rows))
        self._log.info("feeds handed over", feeds=len(rows))

    async def _end(self, keys: Collection[Key]) -> None:
        await asyncio.gather(*(self._feeds.end(key) for key in keys))
