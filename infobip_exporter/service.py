"""The service: feeds, ledger and web server put together, from the start to the signal that ends them."""

import gc
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import FrameType

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config.schema import Config
from infobip_exporter.errors import LedgerError
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.snapshot import FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.reload import Reloads, refuse_what_can_not_change
from infobip_exporter.runner import Runner, Settings, new_client, new_zero_start, settings_of
from infobip_exporter.web.app import create_app
from infobip_exporter.web.door import Door
from infobip_exporter.web.server import Server

DOCS_URL = "https://github.com/infobip-exporter/infobip-exporter#readme"

SAVE_MARKS_EVERY_S = 0.5
END_FEEDS_WITHIN_S = 3.0

_log = structlog.get_logger()


def run(config: Config, reloads: Reloads | None = None, *, lifecycle: bool = False) -> int:
    """Poll and serve until SIGTERM or SIGINT; then finish the write at hand and return 0.

    `reloads` are served between; with `lifecycle` POST /-/reload asks for one, too.
    Raises ConfigError, LedgerError or ListenError where it can't begin.
    """
    door = Door(config.web.config_file) if config.web.config_file else None
    # Pages are made of thousands of small objects without cycles: look for cycles less often than usual.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # A scrape needs the interpreter a few times; beside a feed that counts it waits this long for it each time.
    sys.setswitchinterval(0.003)
    ending = threading.Event()
    store = Store.open(config.state.url)
    try:
        service = Service(config, store)
        app = create_app(service, reloads.ask if reloads and lifecycle else None)
        server = Server(
            door.guard(app) if door else app, config.web.listen_address, tls=door.tls if door else None
        )
        server.start()
        _log.info("listening", address=server.address, version=__version__, state=store.where)
        with _signals(ending):
            service.start()
            while not ending.wait(SAVE_MARKS_EVERY_S):
                service.save_marks()
                if reloads:
                    service.reloaded = reloads.serve(service.reloaded, service.change_to)
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
        self._config = config
        self._store = store
        self.reloaded = Reloaded(successful=True, success_s=time.time())
        # Swapped whole: the web server's thread may look at any time.
        self._runners = tuple(Runner(each, store, new_client(each)) for each in settings_of(config))
        self._leaving: dict[tuple[str, str], Runner] = {}
        """Those that a reload took away and that have not ended yet: whoever comes back waits for them."""

    def start(self) -> None:
        for runner in self._runners:
            runner.thread.start()

    def stop(self) -> None:
        """End the feeds. One that is stuck in a request is left behind: what it asked for was not counted."""
        for runner in self._runners:
            runner.stop()
        _wait_for([*self._runners, *self._leaving.values()], END_FEEDS_WITHIN_S)
        self.save_marks()

    def change_to(self, config: Config) -> None:
        """Go on with `config`. Feeds whose settings are the same are not touched.

        Raises ConfigError for what can't change at run time, LedgerError if a new feed can't have a ledger; then
        nothing has changed. A feed that is slow to end is not waited for: the one after it does that.
        """
        refuse_what_can_not_change(self._config, config)
        before = {runner.settings.key: runner for runner in self._runners}
        wanted = settings_of(config)
        kept = {
            each.key: before[each.key]
            for each in wanted
            if each.key in before and before[each.key].settings == each
        }
        self._hide_keys(config)
        # All that may fail comes before anything is ended.
        with ExitStack() as undo:
            new = {each.key: self._follow(each, before, undo) for each in wanted if each.key not in kept}
            for runner in new.values():
                runner.thread.start()
            undo.pop_all()
        self._config = config
        self._runners = tuple(kept.get(each.key) or new[each.key] for each in wanted)
        ended = [runner for key, runner in before.items() if key not in kept]
        for runner in ended:
            runner.stop()
        _wait_for(ended, END_FEEDS_WITHIN_S)
        for runner in ended:
            if runner.thread.is_alive():
                runner.tell_it_is_slow()
        self._leaving = {
            runner.settings.key: runner
            for runner in (*self._leaving.values(), *ended)
            if runner.settings.key not in new and runner.thread.is_alive()
        }

    def _follow(
        self, settings: Settings, before: Mapping[tuple[str, str], Runner], undo: ExitStack
    ) -> Runner:
        """A runner for `settings`: it waits for the one whose ledger it goes on with, if there is one."""
        client = new_client(settings)
        undo.callback(client.close)
        running = before.get(settings.key)
        runner = Runner(
            settings,
            self._store,
            client,
            before=running or self._leaving.get(settings.key),
            zero_start=self._zero_start(settings, running) if running else None,
        )
        undo.callback(self._leave, runner)
        return runner

    def _leave(self, runner: Runner) -> None:
        runner.stop()
        if runner.thread.is_alive():
            self._leaving[runner.settings.key] = runner

    def _hide_keys(self, config: Config) -> None:
        """Keep the new keys out of the log as well; those of before may be told of still."""
        accounts = (*self._config.accounts, *config.accounts)
        logs.configure(config.log, secrets=[each.api_key for each in accounts if each.api_key])

    def _zero_start(self, settings: Settings, before: Runner) -> ZeroStart:
        same = before.settings.metrics.zero_hold_s == settings.metrics.zero_hold_s
        return before.zero_start if same else new_zero_start(settings, before.ledger)

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
        return [runner.feed.name for runner in self._runners if not runner.answered]

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())


def _wait_for(runners: Sequence[Runner], within_s: float) -> None:
    """Until all have ended, or the time is over."""
    deadline = time.monotonic() + within_s
    for runner in runners:
        runner.thread.join(max(0.0, deadline - time.monotonic()))


class _signals:  # noqa: N801 - reads as a word of the with statement
    """SIGTERM and SIGINT set the event."""

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
