"""A feed with its thread, its connection to the API and what the web server needs of it."""

import random
import threading
import time
from dataclasses import replace
from typing import NamedTuple

import structlog

from infobip_exporter.config.schema import Account, Config, Metrics, Poll
from infobip_exporter.errors import LedgerError
from infobip_exporter.feed import Feed
from infobip_exporter.feed.time import RealTime
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.credentials import credentials_of
from infobip_exporter.ledger.ledger import Ledger
from infobip_exporter.ledger.store import Store
from infobip_exporter.metrics.zero_start import Moment, ZeroStart

START_AGAIN_AFTER_S = 10.0

_log = structlog.get_logger()


class Settings(NamedTuple):
    """All of a configuration that one feed depends on. A feed whose settings stay the same need not be touched."""

    account: Account
    channel: str
    poll: Poll
    metrics: Metrics

    @property
    def key(self) -> tuple[str, str]:
        return self.account.name, self.channel


def settings_of(config: Config) -> list[Settings]:
    """Those of each feed, in the configuration's order."""
    return [
        # The account's other channels are other feeds.
        Settings(_only(account, channel), channel, config.poll, config.metrics)
        for account in config.accounts
        for channel in account.channels
    ]


def new_client(settings: Settings) -> Client:
    """The feed's connection to the API."""
    account = settings.account
    return Client(
        account.base_url,
        LOG_PATHS[settings.channel],
        credentials_of(account),
        account.filters,
        settings.poll.timeout_s,
    )


class Runner:
    """A feed in a thread of its own. One that falls over an error of ours begins again from its ledger.

    With `before`, a runner of the same feed, it goes on with that one's ledger as soon as that one's thread has ended:
    never do two write one ledger. Until then it shows what that one shows. `zero_start` is what it is to go on with,
    None for one from the ledger's marks.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        client: Client,
        *,
        before: "Runner | None" = None,
        zero_start: ZeroStart | None = None,
    ) -> None:
        self.settings = settings
        self.client = client
        self._store = store
        self._time = RealTime()
        self._log = _log.bind(account=settings.account.name, channel=settings.channel)
        self._before = before
        self._answered_before = False
        self.ledger: Ledger = before.ledger if before else Ledger(store, *settings.key)
        self.zero_start = zero_start or new_zero_start(settings, self.ledger)
        self.feed: Feed = before.feed if before else self._make_feed()
        self.thread = threading.Thread(target=self._run, name="/".join(settings.key), daemon=True)

    @property
    def answered(self) -> bool:
        """Whether the API has been asked once, by this runner or the one before it."""
        return self._answered_before or self.feed.answered

    def stop(self) -> None:
        """End the feed at the next safe point: a write under way is finished, a request under way is not counted."""
        self._time.stop()
        self.client.close()

    def tell_it_is_slow(self) -> None:
        """It was stopped a while ago and has not ended yet."""
        self._log.warning("the feed is slow to end, what comes after it waits for that")

    def _make_feed(self) -> Feed:
        account, channel, poll, metrics = self.settings
        return Feed(
            account.name,
            channel,
            Config(accounts=(account,), poll=poll, metrics=metrics),
            account.requests_per_minute,
            self.client,
            self.ledger,
            self._time,
            random.Random(),
            self._log,
        )

    def _run(self) -> None:
        if self._before is not None:
            self._take_over(self._before)
        begin_again = False
        while not self._time.stopping:
            try:
                if begin_again:
                    self.ledger = Ledger(self._store, *self.settings.key)
                    self.feed = self._make_feed()
                self.feed.run()
            except LedgerError as error:
                self.feed.fell_over(error)  # told there, once
                begin_again = True
                self._time.wait(START_AGAIN_AFTER_S)
            except Exception as error:  # noqa: BLE001 - whatever it was, the counts are safe and the feed goes on
                self._log.exception("the feed fell over, beginning again from its ledger")
                self.feed.fell_over(error)
                begin_again = True
                self._time.wait(START_AGAIN_AFTER_S)

    def _take_over(self, before: "Runner") -> None:
        """Wait for its end, even when this one is to end as well: whoever comes next waits for this one alone."""
        before.thread.join()
        self._answered_before = before.answered
        self.ledger = before.ledger
        if not self._time.stopping:
            self.feed = self._make_feed()
        self._before = None


def new_zero_start(settings: Settings, ledger: Ledger) -> ZeroStart:
    """The one that a start from the ledger has. Raises LedgerError."""
    return ZeroStart(settings.metrics.zero_hold_s, ledger.marks(), Moment(time.time(), time.monotonic()))


def _only(account: Account, channel: str) -> Account:
    return replace(account, channels=(channel,))
