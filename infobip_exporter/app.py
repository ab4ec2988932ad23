"""The exporter put together: feeds, ledger and web server, from the start to the signal that ends them."""

import asyncio
import gc
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config.schema import Config
from infobip_exporter.feed.clock import RealClock, ThreadWorker
from infobip_exporter.feed.replica import Replica
from infobip_exporter.feeds import Feeds
from infobip_exporter.ledger.leases import Key, Lease, Leases
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
CLOSE_WITHIN_S = 1.0

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
    """The feeds of a configuration, and what the web server shows of them. With `leases` it is one of several replicas."""

    version = __version__
    docs_url = DOCS_URL

    def __init__(self, config: Config, store: Store, leases: tuple[Leases, Lease] | None = None) -> None:
        self._config = config
        self.process = Process()
        self.reloaded = Reloaded(successful=True, success_s=time.time())
        self.feeds = Feeds(config, store, config.state.lease_s if leases else None)
        self._replica: Replica | None = None
        if leases:
            self._replica = Replica(*leases, self.feeds, RealClock(), ThreadWorker("leases", 2), _log)

    async def serve(self, reloads: Reloads | None = None) -> None:
        """Run the feeds until a signal ends them."""
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        self.feeds.start()
        besides = [
            _every(LOOK_EVERY_S, self.feeds.save_released),
            _every(WATCH_EVERY_S, self.feeds.restart_stalled),
            _every(REFRESH_S, partial(asyncio.to_thread, self.process.refresh)),
        ]
        if reloads:
            besides.append(_every(LOOK_EVERY_S, partial(self._reload, reloads)))
        if self._replica:
            besides.append(self._replica.run())
        tasks = [asyncio.create_task(each) for each in besides]
        await ending.wait()
        for task in tasks:
            task.cancel()
        await self.end()
        if reloads:
            reloads.end()

    async def end(self) -> None:
        """End the feeds and hand them over, within a few seconds whatever hangs."""
        if self._replica:
            self._replica.lease.end()
        await self.feeds.end_all()
        await asyncio.wait([asyncio.create_task(self.feeds.save_released())], timeout=CLOSE_WITHIN_S)
        if self._replica:
            await asyncio.wait([asyncio.create_task(self._replica.leave())], timeout=CLOSE_WITHIN_S)
        self.feeds.abandon()

    async def _reload(self, reloads: Reloads) -> None:
        self.reloaded = await reloads.serve(self.reloaded, self.change_to)

    async def change_to(self, config: Config) -> None:
        """Continue with `config`.

        Raises ConfigError for what can't change at run time, LedgerError if a new feed can't have a ledger; then
        nothing has changed.
        """
        refuse_what_can_not_change(self._config, config)
        # The keys of before may still be in messages.
        logs.configure(config.log, secrets=[*self._config.secrets, *config.secrets])
        await self.feeds.change_to(config)
        self._config = config

    # What the web server shows. Called from its thread.

    def snapshots(self) -> list[FeedSnapshot]:
        if self._replica and not self._replica.lease.holds():
            return []  # another replica may show newer ones
        return self.feeds.snapshots()

    def zero_starts(self) -> Mapping[Key, ZeroStart]:
        return {key: each.zero_start for key, each in self.feeds.by_key.items()}

    def standby(self) -> int:
        """How many feeds of the configuration are not shown."""
        return len(self.feeds.wanted()) - len(self.snapshots())

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

    def ready(self) -> list[str]:
        """What has not been reached yet: feeds that have not asked the API; of a replica, the database."""
        if self._replica:
            return [] if self._replica.reached else ["the database"]
        return self.feeds.unanswered()

    def stalled(self) -> list[str]:
        return self.feeds.stalled()

    now = staticmethod(Moment.now)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again, whatever becomes of it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it was, the feeds and the next time are not affected
            _log.exception("internal error, continuing")
