"""The feeds of a configuration: begun, ended, exchanged, each a task of one loop."""

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import LeaseLost, LedgerError
from infobip_exporter.feed.clock import RealClock, ThreadWorker
from infobip_exporter.feed.settings import Settings
from infobip_exporter.feed.supervisor import Supervisor
from infobip_exporter.infobip.access import Access
from infobip_exporter.ledger.leases import Key
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import FeedSnapshot
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.model.series import Series

END_WITHIN_S = 2.0
LEDGER_THREADS = 4
"""Commits to PostgreSQL wait for the network and the disk there: so many at once."""
START_APART_S = 0.05
"""Feeds begin their polls so far apart, so that a thousand of them do not all count at the same moment."""

_log = structlog.get_logger()


class Running(NamedTuple):
    """A feed that runs, and which of its series are shown at zero yet."""

    feed: Supervisor
    zero_start: ZeroStart


class Feeds:
    """The feeds of `config`. With `lease_s` those that this replica comes to own, which `begin` and `end` tell, else all."""

    def __init__(self, config: Config, store: Store, lease_s: float | None = None) -> None:
        self._store = store
        self._lease_s = lease_s
        self._clock = RealClock()
        self._worker = ThreadWorker("ledger", 1 if lease_s is None else LEDGER_THREADS)
        self._accesses: dict[str, Access] = {}
        """By account: its channels share them."""
        self._settings = settings_of(config)
        self.by_key: Mapping[Key, Running] = {}
        """Swapped whole: the web server's thread may look at any time."""
        self._leaving: dict[Key, Running] = {}
        """Those that a reload took away and that have not ended yet: whoever comes back waits for them."""
        if lease_s is None:
            apart_s = min(START_APART_S, config.poll.interval_s / max(1, len(self._settings)))
            self.by_key = {
                key: self._made(*needs, delay_s=number * apart_s)
                for number, (key, needs) in enumerate(self._settings.items())
            }

    def start(self) -> None:
        for each in self.by_key.values():
            each.feed.start()

    async def end_all(self) -> None:
        """End the feeds. One that is stuck in a commit is left behind: what it asked for was not counted."""
        feeds = [each.feed for each in (*self.by_key.values(), *self._leaving.values())]
        for feed in feeds:
            feed.end()
        await asyncio.gather(*(feed.wait(END_WITHIN_S) for feed in feeds))

    def abandon(self) -> None:
        """Wait for no commit any longer."""
        self._worker.abandon()

    async def save_released(self) -> None:
        """Make durable which series have been shown, so that they may be shown with their real value."""
        with suppress(LedgerError):  # the feeds report it; the releases are offered again
            for each in self.by_key.values():
                await self._save_released_of(each)

    async def _save_released_of(self, running: Running) -> None:
        if series := running.zero_start.unsaved(Moment.now()):
            with suppress(LeaseLost):  # whoever has the feed now holds them at zero once more
                await self._worker.run(partial(running.feed.ledger.save_released, series))
                running.zero_start.saved(series)

    async def restart_stalled(self) -> None:
        await asyncio.gather(*(each.feed.restart_if_stalled() for each in self.by_key.values()))

    # What the replica does with them

    def wanted(self) -> Collection[Key]:
        return self._settings.keys()

    def running(self) -> Collection[Key]:
        return [key for key, each in self.by_key.items() if not each.feed.lost]

    def unreached(self) -> Collection[Key]:
        """The feeds whose API does not answer here, for a lease and two polls."""
        return [
            key
            for key, each in self.by_key.items()
            if each.feed.feed.unreached_s > (self._lease_s or 0) + 2 * each.feed.feed.interval_s
        ]

    async def begin(self, key: Key) -> None:
        """Run a feed that this replica has come to own."""
        await self.end(key)  # what is left of it
        try:
            ledger = await self._worker.run(lambda: Ledger(self._store, *key))
            released = await self._worker.run(ledger.released)
        except LeaseLost:
            return
        if key not in self._settings:  # a reload came in between
            return
        begun = self._made(*self._settings[key], ledger=ledger, released=released)
        self.by_key = {**self.by_key, key: begun}
        begun.feed.start()

    async def end(self, key: Key) -> None:
        """End a feed that another replica owns, or is to own. It is not shown from the first moment on."""
        if key not in self.by_key:
            return
        ended = self.by_key[key]
        self.by_key = {other: each for other, each in self.by_key.items() if other != key}
        ended.feed.end()
        await ended.feed.wait(END_WITHIN_S)
        with suppress(LedgerError):
            await self._save_released_of(ended)

    # Reload

    async def change_to(self, config: Config) -> None:
        """Continue with those of `config`. Feeds whose settings are the same are not touched.

        Raises ConfigError, LedgerError if a new feed can't be made; then nothing has changed. A feed that is slow to
        end is not waited for: the one after it does that.
        """
        wanted = settings_of(config)
        before = self.by_key
        after: dict[Key, Running] = {}
        accesses = dict(self._accesses)
        try:
            # All that may fail comes before anything is ended. A replica begins with new feeds once it owns them.
            for key, needs in wanted.items():
                if key in before and needs == self._settings[key]:
                    after[key] = before[key]
                elif key in before or self._lease_s is None:
                    after[key] = self._made(*needs, before=before.get(key) or self._leaving.get(key))
        except BaseException:
            self._accesses = accesses
            raise
        self._accesses = {
            account.name: self._accesses[account.name]
            for _, account in wanted.values()
            if account.name in self._accesses
        }
        self._settings, self.by_key = wanted, after
        for each in after.values():
            each.zero_start.change_hold(each.feed.settings.metrics.zero_hold_s)
        ended = {key: each for key, each in before.items() if after.get(key) is not each}
        new = {key: each for key, each in after.items() if before.get(key) is not each}
        for each in ended.values():
            each.feed.end()
        for each in new.values():
            each.feed.start()
        in_time = await asyncio.gather(*(each.feed.wait(END_WITHIN_S) for each in ended.values()))
        slow = {key: ended[key] for key, has_ended in zip(ended, in_time, strict=True) if not has_ended}
        for account, channel in slow:
            _log.warning("feed is slow to end, its successor waits", account=account, channel=channel)
        self._leaving = {key: each for key, each in {**self._leaving, **slow}.items() if key not in new}

    def _made(
        self,
        settings: Settings,
        account: Account,
        *,
        before: Running | None = None,
        ledger: Ledger | None = None,
        released: Collection[Series] | None = None,
        delay_s: float = 0.0,
    ) -> Running:
        """A feed, in place of the one `before`, or with what was read of its ledger already. Raises ConfigError, LedgerError."""
        access, timeout_s = self._accesses.get(account.name), settings.poll.timeout_s
        if access is None or not access.serves(account, timeout_s):
            access = self._accesses[account.name] = Access(account, timeout_s)
        labels = (*settings.metrics.labels, *settings.metrics.duration_labels)
        feed = Supervisor(
            settings,
            partial(access.client, settings.channel, account.filters, labels),
            lambda: Ledger(self._store, settings.account, settings.channel),
            self._clock,
            self._worker,
            ledger=ledger,
            before=before.feed if before else None,
            delay_s=delay_s,
        )
        if before:
            return Running(feed, before.zero_start)
        released = feed.ledger.released() if released is None else released
        return Running(feed, ZeroStart(settings.metrics.zero_hold_s, released))

    # What is shown of them. Any thread may ask.

    def snapshots(self) -> list[FeedSnapshot]:
        """Each feed's, in the configuration's order."""
        running = self.by_key
        return [
            replace(feed.feed.snapshot, up=False) if feed.stalled else feed.feed.snapshot
            for feed in (running[key].feed for key in self._settings if key in running)
            if not feed.lost
        ]

    def unanswered(self) -> list[str]:
        """Those that have not asked the API yet."""
        return [each.feed.settings.name for each in self.by_key.values() if not each.feed.answered]

    def stalled(self) -> list[str]:
        """Those that make no progress though they should."""
        return [each.feed.settings.name for each in self.by_key.values() if each.feed.stalled]


def settings_of(config: Config) -> dict[Key, tuple[Settings, Account]]:
    """What each feed depends on, in the configuration's order."""
    return {
        (account.name, channel): (
            Settings(
                account=account.name,
                channel=channel,
                poll=config.poll,
                metrics=config.metrics,
                requests_per_minute=account.requests_per_minute,
                filters=_fingerprint(account.filters),
                log_failures=config.log.failures,
            ),
            # The account's other channels are other feeds.
            replace(account, channels=(channel,)),
        )
        for account in config.accounts
        for channel in account.channels
    }


def _fingerprint(filters: Mapping[str, str]) -> str:
    """The same for the same filters; it holds none of their values."""
    if not filters:
        return ""
    return hashlib.sha256(json.dumps(sorted(filters.items())).encode()).hexdigest()[:16]
