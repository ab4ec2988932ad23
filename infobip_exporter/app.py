"""The exporter put together: feeds, ledger and web server, from the start to the signal that ends them."""

import asyncio
import gc
import hashlib
import json
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config.authentication import secrets_of
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed.clock import RealClock, ThreadWorker
from infobip_exporter.feed.feed import Settings
from infobip_exporter.feed.supervisor import Supervisor
from infobip_exporter.infobip.access import Access
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.sqlite import SqliteStore
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.reload import Reloads, refuse_what_can_not_change
from infobip_exporter.web.app import create_app
from infobip_exporter.web.door import Door
from infobip_exporter.web.server import Server

DOCS_URL = "https://github.com/infobip-exporter/infobip-exporter#readme"

LOOK_EVERY_S = 0.5
WATCH_EVERY_S = 5.0
END_WITHIN_S = 2.0
CLOSE_WITHIN_S = 1.0
START_APART_S = 0.05
"""Feeds begin their polls so far apart, so that a thousand of them do not all count at the same moment."""

_log = structlog.get_logger()

Key = tuple[str, str]
"""Account and channel of a feed."""


def run(config: Config, reloads: Reloads | None = None, *, lifecycle: bool = False) -> int:
    """Poll and serve until SIGTERM or SIGINT; then finish the write at hand and return 0.

    `reloads` are served meanwhile; with `lifecycle` POST /-/reload asks for one, too.
    Raises ConfigError, LedgerError or ListenError where it can't begin.
    """
    door = Door(config.web.config_file) if config.web.config_file else None
    # Pages are made of thousands of small objects without cycles: look for cycles less often than usual.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # A scrape needs the interpreter a few times; beside a feed that counts it waits this long for it each time.
    sys.setswitchinterval(0.003)
    store = SqliteStore.open(config.state.url)
    try:
        app = App(config, store)
        asgi = create_app(app, reloads.ask if reloads and lifecycle else None)
        server = Server(
            door.guard(asgi) if door else asgi, config.web.listen_address, tls=door.tls if door else None
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
    """The feeds of a configuration, each a task of one loop; what the web server shows of them."""

    version = __version__
    docs_url = DOCS_URL

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._clock = RealClock()
        self._worker = ThreadWorker("ledger")
        self.reloaded = Reloaded(successful=True, success_s=time.time())
        self._accesses: dict[str, Access] = {}
        """By account: its channels share them."""
        wanted = settings_of(config)
        apart_s = min(START_APART_S, config.poll.interval_s / max(1, len(wanted)))
        # Swapped whole: the web server's thread may look at any time.
        self._feeds: Mapping[Key, Supervisor] = {
            key: self._supervisor(settings, account, delay_s=number * apart_s)
            for number, (key, (settings, account)) in enumerate(wanted.items())
        }
        self._accounts = {key: account for key, (_, account) in wanted.items()}
        self._zero_starts: Mapping[Key, ZeroStart] = {
            key: self._new_zero_start(feed) for key, feed in self._feeds.items()
        }
        self._leaving: dict[Key, Supervisor] = {}
        """Those that a reload took away and that have not ended yet: whoever comes back waits for them."""

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
                _every(LOOK_EVERY_S, self._save_marks),
                _every(LOOK_EVERY_S, partial(self._reload, reloads)),
                _every(WATCH_EVERY_S, self._restart_stalled),
            )
        ]
        await ending.wait()
        for task in besides:
            task.cancel()
        await self._end()

    async def _end(self) -> None:
        """End the feeds. One that is stuck in a commit is left behind: what it asked for was not counted."""
        feeds = [*self._feeds.values(), *self._leaving.values()]
        for feed in feeds:
            feed.end()
        await asyncio.gather(*(feed.wait(END_WITHIN_S) for feed in feeds))
        await asyncio.wait([asyncio.create_task(self._save_marks())], timeout=CLOSE_WITHIN_S)
        self._worker.abandon()

    async def _save_marks(self) -> None:
        """Make durable which series have been shown, so that they may be shown with their real value."""
        feeds = self._feeds  # a reload may come in between
        for key, zero_start in self._zero_starts.items():
            marks = zero_start.unsaved(self.now())
            if marks:
                save = partial(feeds[key].ledger.save_marks, marks)
                try:
                    await self._worker.run(save)
                except LedgerError:
                    return  # the feeds report it; the marks are offered again
                zero_start.saved(marks)

    async def _restart_stalled(self) -> None:
        await asyncio.gather(*(feed.restart_if_stalled() for feed in self._feeds.values() if feed.stalled))

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
        kept = {
            key: before[key]
            for key, (settings, account) in wanted.items()
            if key in before and (before[key].settings, self._accounts[key]) == (settings, account)
        }
        # All that may fail comes before anything is ended.
        new = {
            key: self._supervisor(settings, account, before=before.get(key) or self._leaving.get(key))
            for key, (settings, account) in wanted.items()
            if key not in kept
        }
        zero_starts = {key: self._zero_starts.get(key) or self._new_zero_start(new[key]) for key in wanted}
        self._config = config
        self._accesses = {each.name: self._accesses[each.name] for each in config.accounts}
        self._accounts = {key: account for key, (_, account) in wanted.items()}
        self._feeds = {key: kept.get(key) or new[key] for key in wanted}
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
        settings: Settings,
        account: Account,
        *,
        before: Supervisor | None = None,
        delay_s: float = 0.0,
    ) -> Supervisor:
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
        return ZeroStart(feed.settings.metrics.zero_hold_s, feed.ledger.marks(), self.now())

    def _hide_keys(self, config: Config) -> None:
        """Keep the new keys out of the log as well; those of before may still be in messages."""
        accounts = (*self._config.accounts, *config.accounts)
        logs.configure(config.log, secrets=[secret for each in accounts for secret in secrets_of(each)])

    # What the web server shows. Called from its thread.

    def snapshots(self) -> Sequence[FeedSnapshot]:
        return [
            replace(feed.feed.snapshot, up=False) if feed.stalled else feed.feed.snapshot
            for feed in self._feeds.values()
        ]

    def zero_starts(self) -> Mapping[Key, ZeroStart]:
        return self._zero_starts

    def ready(self) -> list[str]:
        """The feeds that have not asked the API yet."""
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
