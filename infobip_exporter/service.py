"""The service: feeds, ledger and web server put together, from the start to the signal that ends them."""

import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType

import structlog

from infobip_exporter import __version__
from infobip_exporter.api.channels import LOG_PATHS
from infobip_exporter.api.client import Client
from infobip_exporter.api.credentials import credentials_of
from infobip_exporter.config.schema import Account, Config
from infobip_exporter.errors import LedgerError
from infobip_exporter.exposition.snapshot import FeedSnapshot
from infobip_exporter.exposition.zero_start import Moment, ZeroStart
from infobip_exporter.feed import Feed
from infobip_exporter.feed.time import RealTime
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.web.app import create_app
from infobip_exporter.web.door import Door
from infobip_exporter.web.server import Server

DOCS_URL = "https://github.com/infobip-exporter/infobip-exporter#readme"

SAVE_MARKS_EVERY_S = 0.5
STOP_FEEDS_WITHIN_S = 3.0
START_AGAIN_AFTER_S = 10.0

_log = structlog.get_logger()


def run(config: Config) -> int:
    """Poll and serve until SIGTERM or SIGINT; then finish the write at hand and return 0.

    Raises ConfigError, LedgerError or ListenError where it can't begin.
    """
    door = Door(config.web.config_file) if config.web.config_file else None
    # Pages are made of thousands of small objects without cycles: look for cycles less often than usual.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # A scrape needs the interpreter a few times; beside a feed that counts it waits this long for it each time.
    sys.setswitchinterval(0.001)
    ending = threading.Event()
    store = Store.open(config.state.url)
    try:
        service = Service(config, store)
        app = create_app(service)
        server = Server(
            door.guard(app) if door else app, config.web.listen_address, tls=door.tls if door else None
        )
        server.start()
        _log.info("listening", address=server.address, version=__version__, state=store.where)
        with _signals(ending):
            service.start()
            while not ending.wait(SAVE_MARKS_EVERY_S):
                service.save_marks()
        _log.info("ending")
        service.stop()
        server.stop(timeout_s=1.0)
    finally:
        store.close()
    return 0


class Service:
    """The feeds of a configuration, each in a thread of its own; what the web server shows of them."""

    version = __version__
    docs_url = DOCS_URL

    def __init__(self, config: Config, store: Store) -> None:
        self._time = RealTime()
        self._runners = [
            _Runner(account, channel, config, store, self._time)
            for account in config.accounts
            for channel in account.channels
        ]

    def start(self) -> None:
        for runner in self._runners:
            runner.thread.start()

    def stop(self) -> None:
        """End the feeds. One that is stuck in a request is left behind: what it asked for was not counted."""
        self._time.stop()
        for runner in self._runners:
            runner.client.close()
        deadline = time.monotonic() + STOP_FEEDS_WITHIN_S
        for runner in self._runners:
            runner.thread.join(max(0.0, deadline - time.monotonic()))
        self.save_marks()

    def save_marks(self) -> None:
        """Make durable which series have been shown, so that they may be shown with their real value."""
        for runner in self._runners:
            marks = runner.zero_start.unsaved(self.now())
            if not marks:
                continue
            try:
                runner.ledger.save_marks(marks)
            except LedgerError:
                return  # the feeds tell of it; the marks are offered again
            runner.zero_start.saved(marks)

    # What the web server shows

    def snapshots(self) -> Sequence[FeedSnapshot]:
        return [runner.feed.snapshot for runner in self._runners]

    def zero_starts(self) -> Mapping[tuple[str, str], ZeroStart]:
        return {(runner.feed.account, runner.feed.channel): runner.zero_start for runner in self._runners}

    def ready(self) -> list[str]:
        return [runner.feed.name for runner in self._runners if not runner.feed.answered]

    def now(self) -> Moment:
        return Moment(self._time.wall(), self._time.monotonic())


class _Runner:
    """A feed with its thread. A feed that falls over an error of ours begins again from its ledger."""

    def __init__(self, account: Account, channel: str, config: Config, store: Store, time: RealTime) -> None:
        self._account = account
        self._channel = channel
        self._config = config
        self._store = store
        self._time = time
        self._log = _log.bind(account=account.name, channel=channel)
        self.client = Client(
            account.base_url,
            LOG_PATHS[channel],
            credentials_of(account),
            account.filters,
            config.poll.timeout_s,
        )
        self.ledger = Ledger(store, account.name, channel)
        now = Moment(time.wall(), time.monotonic())
        self.zero_start = ZeroStart(config.metrics.zero_hold_s, self.ledger.marks(), now)
        self.feed = self._make_feed()
        self.thread = threading.Thread(target=self._run, name=self.feed.name, daemon=True)

    def _make_feed(self) -> Feed:
        return Feed(
            self._account.name,
            self._channel,
            self._config,
            self._account.requests_per_minute,
            self.client,
            self.ledger,
            self._time,
            random.Random(),
            self._log,
        )

    def _run(self) -> None:
        begin_again = False
        while not self._time.stopping:
            try:
                if begin_again:
                    self.ledger = Ledger(self._store, self._account.name, self._channel)
                    self.feed = self._make_feed()
                self.feed.run()
            except Exception as error:  # noqa: BLE001 - whatever it was, the counts are safe and the feed goes on
                self._log.exception("the feed fell over, beginning again from its ledger")
                self.feed.fell_over(error)
                begin_again = True
                self._time.wait(START_AGAIN_AFTER_S)


class _signals:  # noqa: N801 - reads as a word of the with statement
    """SIGTERM and SIGINT set the event, once; a second one ends the process the usual way."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in self._before:
            signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending.set()
