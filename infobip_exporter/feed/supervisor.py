"""Keeping a feed running: it is started from its ledger, and again whenever it has crashed or makes no progress."""

import asyncio
from collections.abc import Callable
from random import Random

import structlog

from infobip_exporter.errors import LeaseLost, LedgerError
from infobip_exporter.feed.clock import Clock, Worker
from infobip_exporter.feed.feed import Feed
from infobip_exporter.feed.settings import Settings
from infobip_exporter.infobip.client import Client
from infobip_exporter.ledger.ledger import Ledger

START_AGAIN_AFTER_S = 10.0
STALLED_POLLS = 3
STALLED_MARGIN_S = 30.0
"""A feed reports progress at every answer, failure and wait; one without for three polls and this is stuck."""

_log = structlog.get_logger()


class Supervisor:
    """A feed with its task and its client.

    `open_ledger` loads the feed's ledger and may block; `ledger` is the first, where it was loaded already. With `before`, a supervisor of the same feed, it begins as soon
    as that one has ended: never do two write one ledger. Until then it shows what that one shows.
    """

    def __init__(
        self,
        settings: Settings,
        open_client: Callable[[], Client],
        open_ledger: Callable[[], Ledger],
        clock: Clock,
        worker: Worker,
        *,
        ledger: Ledger | None = None,
        before: "Supervisor | None" = None,
        delay_s: float = 0.0,
    ) -> None:
        self.settings = settings
        self._open_client = open_client
        self.client = open_client()
        self._open_ledger = open_ledger
        self._clock = clock
        self._worker = worker
        self._log = _log.bind(account=settings.account, channel=settings.channel)
        self._before = before
        self._answered_before = False
        self._delay_s = delay_s
        self.lost = False
        """Whether another replica owns the feed now; it has ended here, then."""
        self.ledger: Ledger = before.ledger if before else ledger or open_ledger()
        self.feed: Feed = before.feed if before else self._make_feed()
        self._task: asyncio.Task[None] | None = None
        self._restarted_s = float("-inf")

    def start(self) -> None:
        """Run the feed in the running loop."""
        self._task = asyncio.create_task(self._run(), name=self.settings.name)

    @property
    def answered(self) -> bool:
        """Whether the API has been asked once, by this feed or the one before it."""
        return self._answered_before or self.feed.answered

    @property
    def stalled(self) -> bool:
        """Whether the feed makes no progress though it should. Any thread may ask."""
        return not self.lost and self._clock.monotonic_s() - self.feed.progressed_s > self._allowed_s

    def end(self) -> None:
        """End the feed: a commit under way is finished, a request under way is not counted."""
        if self._task is not None:
            self._task.cancel()

    async def wait(self, within_s: float) -> bool:
        """Wait until the feed has ended. False if it has not within this time."""
        if self._task is None:
            return True
        done, _ = await asyncio.wait([self._task], timeout=within_s)
        return bool(done)

    async def restart_if_stalled(self) -> None:
        """Start the feed again from its ledger if it makes no progress. It counts as stalled until it makes some."""
        now = self._clock.monotonic_s()
        if self._task is None or self._before is not None or not self.stalled:
            return
        if not self._task.done():
            if now - self._restarted_s <= self._allowed_s:
                return
            self._restarted_s = now
            self._log.error("feed makes no progress, restarting from its saved state")
            self.end()
            if not await self.wait(START_AGAIN_AFTER_S):
                return  # stuck in a commit or a request; looked at again
        self.client = self._open_client()
        self._task = asyncio.create_task(self._run(from_ledger=True), name=self.settings.name)

    @property
    def _allowed_s(self) -> float:
        """How long a feed may take from one sign of progress to the next."""
        return STALLED_POLLS * self.feed.interval_s + self.settings.poll.timeout_s + STALLED_MARGIN_S

    async def _run(self, *, from_ledger: bool = False) -> None:
        try:
            if self._before is not None:
                await self._take_over(self._before)
                from_ledger = self.ledger.unsure
            await self._clock.sleep(self._delay_s)
            while True:
                try:
                    if from_ledger:
                        self.ledger = await self._worker.run(self._open_ledger)
                        self.feed = self._make_feed()
                    await self.feed.run()
                except LeaseLost:
                    self._log.info("feed has another owner now, ending it here")
                    self.lost = True
                    return
                except LedgerError as error:
                    self.feed.crashed(error)  # logged there, once
                except Exception as error:  # noqa: BLE001 - whatever it was, the counts are safe and the feed continues
                    self._log.exception("feed crashed, restarting from its saved state")
                    self.feed.crashed(error)
                from_ledger = True
                await self._clock.sleep(START_AGAIN_AFTER_S)
        finally:
            await self.client.close()

    async def _take_over(self, before: "Supervisor") -> None:
        last = before
        while True:
            if last._task is not None:  # noqa: SLF001 - of the same class
                await asyncio.wait([last._task])  # noqa: SLF001
            if last._before is None:  # noqa: SLF001
                break
            last = last._before  # noqa: SLF001 - it was ended before its turn came
        self._answered_before = last.answered
        self.ledger = last.ledger
        self.feed = self._make_feed()
        self._before = None

    def _make_feed(self) -> Feed:
        return Feed(self.settings, self.client, self.ledger, self._clock, self._worker, Random(), self._log)
