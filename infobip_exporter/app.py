"""The exporter put together: feeds, ledger and web server, from the start to the signal that ends them."""

import asyncio
import gc
import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import LeaseLost, LedgerError
from infobip_exporter.feed.clock import RealClock, ThreadWorker
from infobip_exporter.feed.replica import Replica
from infobip_exporter.feed.settings import Settings
from infobip_exporter.feed.supervisor import Supervisor
from infobip_exporter.infobip.access import Access
from infobip_exporter.ledger.leases import Key, Lease, Leases
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.opening import open_store
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.process import REFRESH_S, Process
from infobip_exporter.metrics.snapshot import FeedOwner, FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.reload import Reloads, refuse_what_can_not_change
from infobip_exporter.web.app import create_app
from infobip_exporter.web.guard import Guard
from infobip_exporter.web.server import Server
from infobip_exporter.web.web_config_file import WebConfigFile

DOCS_URL = "https://github.com/infobip-exporter/infobip-exporter#readme"

LOOK_EVERY_S = 0.5
WATCH_EVERY_S = 5.0
END_WITHIN_S = 2.0
CLOSE_WITHIN_S = 1.0
LEDGER_THREADS = 4
"""Commits to PostgreSQL wait for the network and the disk there: so many at once."""
START_APART_S = 0.05
"""Feeds begin their polls so far apart, so that a thousand of them do not all count at the same moment."""

_log = structlog.get_logger()


def run(config: Config, reloads: Reloads | None = None, *, lifecycle: bool = False) -> int:
    """Poll and serve until SIGTERM or SIGINT; then finish the write at hand and return 0.

    `reloads` are served meanwhile; with `lifecycle` POST /-/reload asks for one, too.
    Raises ConfigError, LedgerError or ListenError where it can't begin.
    """
    secured = WebConfigFile(config.web.config_file) if config.web.config_file else None
    # Pages are made of thousands of small objects without cycles: look for cycles less often than usual.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # A scrape needs the interpreter a few times; beside a feed that counts it waits this long for it each time.
    sys.setswitchinterval(0.003)
    store, leases = open_store(config.state)
    try:
        app = App(config, store, leases)
        pages = create_app(app, reloads.ask if reloads and lifecycle else None, config.web.allowed_hosts)
        server = Server(
            Guard(pages, lambda: secured.config) if secured else pages,
            config.web.listen_address,
            tls=secured.tls if secured else None,
            besides=[secured.keep_up_to_date] if secured else [],
        )
        server.start()
        _log.info("listening", address=", ".join(server.addresses), version=__version__, state=store.where)
        try:
            asyncio.run(app.serve(reloads))
        finally:
            _log.info("ending")
            server.stop(timeout_s=1.0)
    finally:
        _close(store)
    return 0


def _close(store: Store) -> None:
    """Close the store, within a second: a disk that hangs must not hold up the end."""
    closing = threading.Thread(target=store.close, name="close", daemon=True)
    closing.start()
    closing.join(CLOSE_WITHIN_S)


class App:
    """The feeds of a configuration, each a task of one loop; what the web server shows of them.

    With `leases` it runs those that this replica owns, else all.
    """

    version = __version__
    docs_url = DOCS_URL

    def __init__(self, config: Config, store: Store, leases: tuple[Leases, Lease] | None = None) -> None:
        self._config = config
        self._store = store
        self._clock = RealClock()
        self._worker = ThreadWorker("ledger", LEDGER_THREADS if leases else 1)
        self.process = Process()
        self.reloaded = Reloaded(successful=True, success_s=time.time())
        self._accesses: dict[str, Access] = {}
        """By account: its channels share them."""
        self._settings = settings_of(config)
        # Swapped whole: the web server's thread may look at any time.
        self._feeds: Mapping[Key, Supervisor] = {}
        self._zero_starts: Mapping[Key, ZeroStart] = {}
        self._leaving: dict[Key, Supervisor] = {}
        """Those that a reload took away and that have not ended yet: whoever comes back waits for them."""
        self._replica: Replica | None = None
        if leases is not None:
            self._replica = Replica(*leases, self, self._clock, ThreadWorker("leases", 2), _log)
            return
        apart_s = min(START_APART_S, config.poll.interval_s / max(1, len(self._settings)))
        self._feeds = {
            key: self._supervisor(key, delay_s=number * apart_s) for number, key in enumerate(self._settings)
        }
        self._zero_starts = {key: self._new_zero_start(feed) for key, feed in self._feeds.items()}

    async def serve(self, reloads: Reloads | None = None) -> None:
        """Run the feeds until a signal ends them."""
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        for feed in self._feeds.values():
            feed.start()
        besides = [
            asyncio.create_task(each)
            for each in (
                _every(LOOK_EVERY_S, self._save_released),
                _every(LOOK_EVERY_S, partial(self._reload, reloads)),
                _every(WATCH_EVERY_S, self._restart_stalled),
                _every(REFRESH_S, partial(asyncio.to_thread, self.process.refresh)),
            )
        ]
        if self._replica:
            besides.append(asyncio.create_task(self._replica.run()))
        await ending.wait()
        for task in besides:
            task.cancel()
        await self._end()
        if reloads:
            reloads.end()

    async def _end(self) -> None:
        """End the feeds. One that is stuck in a commit is left behind: what it asked for was not counted."""
        if self._replica:
            self._replica.lease.end()
        feeds = [*self._feeds.values(), *self._leaving.values()]
        for feed in feeds:
            feed.end()
        await asyncio.gather(*(feed.wait(END_WITHIN_S) for feed in feeds))
        await asyncio.wait([asyncio.create_task(self._save_released())], timeout=CLOSE_WITHIN_S)
        if self._replica:
            await asyncio.wait([asyncio.create_task(self._replica.leave())], timeout=CLOSE_WITHIN_S)
        self._worker.abandon()

    async def _save_released(self) -> None:
        """Make durable which series have been shown, so that they may be shown with their real value."""
        zero_starts = self._zero_starts  # a reload may come in between
        for key, feed in self._feeds.items():
            try:
                await self._save_released_of(feed, zero_starts[key])
            except LedgerError:
                return  # the feeds report it; the releases are offered again

    async def _save_released_of(self, feed: Supervisor, zero_start: ZeroStart) -> None:
        if series := zero_start.unsaved(self.now()):
            with suppress(LeaseLost):  # whoever has the feed now holds them at zero once more
                await self._worker.run(partial(feed.ledger.save_released, series))
                zero_start.saved(series)

    async def _restart_stalled(self) -> None:
        await asyncio.gather(*(feed.restart_if_stalled() for feed in self._feeds.values() if feed.stalled))

    # What the replica does with the feeds

    def wanted(self) -> Collection[Key]:
        return self._settings.keys()

    def running(self) -> Collection[Key]:
        return [key for key, feed in self._feeds.items() if not feed.lost]

    def unreached(self) -> Collection[Key]:
        """The feeds whose API does not answer here, for a lease and two polls."""
        if self._replica is None:
            return []
        lease_s = self._replica.lease.lease_s
        return [
            key
            for key, feed in self._feeds.items()
            if feed.feed.unreached_s > lease_s + 2 * feed.feed.interval_s
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
        feed = self._supervisor(key, ledger=ledger)
        hold_s = feed.settings.metrics.zero_hold_s
        self._zero_starts = {**self._zero_starts, key: ZeroStart(hold_s, released)}
        self._feeds = {**self._feeds, key: feed}
        feed.start()

    async def end(self, key: Key) -> None:
        """End a feed that another replica owns, or is to own. It is not shown from the first moment on."""
        feed = self._feeds.get(key)
        if feed is None:
            return
        zero_start = self._zero_starts[key]
        self._feeds = {other: each for other, each in self._feeds.items() if other != key}
        feed.end()
        await feed.wait(END_WITHIN_S)
        with suppress(LedgerError):
            await self._save_released_of(feed, zero_start)

    # Reload

    async def _reload(self, reloads: Reloads | None) -> None:
        if reloads is not None:
            self.reloaded = await reloads.serve(self.reloaded, self.change_to)

    async def change_to(self, config: Config) -> None:
        """Continue with `config`. Feeds whose settings are the same are not touched.

        Raises ConfigError for what can't change at run time, LedgerError if a new feed can't have a ledger; then
        nothing has changed. A feed that is slow to end is not waited for: the one after it does that.
        """
        refuse_what_can_not_change(self._config, config)
        wanted = settings_of(config)
        before = self._feeds
        self._hide_keys(config)
        kept = {key: before[key] for key in wanted if key in before and self._settings[key] == wanted[key]}
        # All that may fail comes before anything is ended. A replica begins with new feeds once it owns them.
        new = {
            key: self._supervisor(key, wanted, before=before.get(key) or self._leaving.get(key))
            for key in wanted
            if key not in kept and (key in before or not self._replica)
        }
        feeds = {key: kept.get(key) or new[key] for key in wanted if key in kept or key in new}
        zero_starts = {key: self._zero_starts.get(key) or self._new_zero_start(new[key]) for key in feeds}
        self._config = config
        names = {each.name for each in config.accounts}
        self._accesses = {name: each for name, each in self._accesses.items() if name in names}
        self._settings = wanted
        self._feeds = feeds
        self._zero_starts = zero_starts
        for key, zero_start in zero_starts.items():
            zero_start.change_hold(wanted[key][0].metrics.zero_hold_s)
        ended = {key: feed for key, feed in before.items() if key not in kept}
        for feed in ended.values():
            feed.end()
        for feed in new.values():
            feed.start()
        has_ended = await asyncio.gather(*(feed.wait(END_WITHIN_S) for feed in ended.values()))
        slow = {
            key: feed
            for (key, feed), ended_in_time in zip(ended.items(), has_ended, strict=True)
            if not ended_in_time
        }
        for account, channel in slow:
            _log.warning("feed is slow to end, its successor waits", account=account, channel=channel)
        self._leaving = {key: feed for key, feed in {**self._leaving, **slow}.items() if key not in new}

    def _supervisor(
        self,
        key: Key,
        wanted: Mapping[Key, tuple[Settings, Account]] | None = None,
        *,
        ledger: Ledger | None = None,
        before: Supervisor | None = None,
        delay_s: float = 0.0,
    ) -> Supervisor:
        settings, account = (wanted or self._settings)[key]
        access = self._access(account, settings.poll.timeout_s)
        metrics = settings.metrics
        return Supervisor(
            settings,
            lambda: access.client(
                settings.channel, account.filters, (*metrics.labels, *metrics.duration_labels)
            ),
            lambda: Ledger(self._store, settings.account, settings.channel),
            self._clock,
            self._worker,
            ledger=ledger,
            before=before,
            delay_s=delay_s,
        )

    def _access(self, account: Account, timeout_s: float) -> Access:
        """That of the account's other channels. Raises ConfigError for what can't be used."""
        access = self._accesses.get(account.name)
        if access is None or not access.serves(account, timeout_s):
            access = self._accesses[account.name] = Access(account, timeout_s)
        return access

    def _new_zero_start(self, feed: Supervisor) -> ZeroStart:
        return ZeroStart(feed.settings.metrics.zero_hold_s, feed.ledger.released())

    def _hide_keys(self, config: Config) -> None:
        """Keep the new keys out of the log as well; those of before may still be in messages."""
        logs.configure(config.log, secrets=[*self._config.secrets, *config.secrets])

    # What the web server shows. Called from its thread.

    def snapshots(self) -> Sequence[FeedSnapshot]:
        if self._replica and not self._replica.lease.holds():
            return []  # another replica may show newer ones
        feeds = self._feeds
        return [
            replace(feed.feed.snapshot, up=False) if feed.stalled else feed.feed.snapshot
            for feed in (feeds[key] for key in self._settings if key in feeds)
            if not feed.lost
        ]

    def standby(self) -> int:
        """How many feeds of the configuration are not shown."""
        return len(self._settings) - len(self.snapshots())

    def owners(self) -> list[FeedOwner] | None:
        """Who runs each feed, over all replicas; None where there is one process only."""
        if self._replica is None:
            return None
        directory, me = self._replica.directory, self._replica.lease.replica
        found = []
        for row in directory.feeds:
            owner = directory.replicas.get(row.owner)
            heard_s = owner.heard_s if owner else None
            name = owner.name if owner else ""
            found.append(FeedOwner(row.account, row.channel, name, row.owner == me, heard_s, row.behind_s))
        return found

    def zero_starts(self) -> Mapping[Key, ZeroStart]:
        return self._zero_starts

    def ready(self) -> list[str]:
        """What has not been reached yet: feeds that have not asked the API; of a replica, the database."""
        if self._replica:
            return [] if self._replica.reached else ["the database"]
        return [feed.settings.name for feed in self._feeds.values() if not feed.answered]

    def stalled(self) -> list[str]:
        """The feeds that make no progress though they should."""
        return [feed.settings.name for feed in self._feeds.values() if feed.stalled]

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again, whatever becomes of it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it was, the feeds and the next time are not affected
            _log.exception("internal error, continuing")


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
