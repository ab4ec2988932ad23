"""The simulated Infobip as a site: its accounts, their channels, and who may ask what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from urllib.parse import parse_qsl

from infobip_exporter.model.channels import LOG_KEEPS_MS, LOG_PATHS, NETWORK_CHANNELS
from infobip_sandbox.access import Access, AccessRules, SandboxAccount
from infobip_sandbox.faults import NO_FAULTS, Faults, FaultyLog
from infobip_sandbox.log import SimulatedLog
from infobip_sandbox.quirks import DOCUMENTED, Quirks
from infobip_sandbox.replies import Reply, error_reply
from infobip_sandbox.traffic import Traffic
from infobip_sandbox.world import World

_CHANNEL_OF_PATH = {path: channel for channel, path in LOG_PATHS.items()}


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """What the site is to be. Each channel of each account has a world of its own, drawn from `seed`.

    `history_ms` is how far back the traffic goes at the start; `keep_messages` bounds what a channel keeps in memory.
    """

    seed: int = 1
    traffic: Traffic = field(default_factory=Traffic)
    quirks: Quirks = DOCUMENTED
    faults: Faults = NO_FAULTS
    accounts: tuple[SandboxAccount, ...] = (SandboxAccount(),)
    access: AccessRules = field(default_factory=AccessRules)
    history_ms: int = LOG_KEEPS_MS
    keep_messages: int = 100_000


class Site:
    """Answers requests by path, credentials and parameters. Channels come to life when they are first asked."""

    def __init__(self, options: SiteOptions, starts_ms: int) -> None:
        self.options = options
        self.accounts = {account.name: account for account in options.accounts}
        self.access = Access(options.accounts, options.access)
        self._begins_ms = starts_ms - options.history_ms
        self._logs: dict[tuple[str, str], FaultyLog] = {}
        self._quirks = options.quirks
        self._faults = options.faults

    def answer(self, path: str, query: str, authorization: str, now_ms: int, arrived_ms: int) -> Reply:
        """The reply to a GET of `path` with `query` and an Authorization header, "" without one.

        `now_ms` is the API's clock; `arrived_ms` is a clock that never steps.
        """
        channel = _CHANNEL_OF_PATH.get(path)
        if channel is None:
            return error_reply(404, self._quirks, now_ms)
        grant = self.access.grant(authorization, arrived_ms)
        if grant is None:
            return error_reply(401, self._quirks, now_ms)
        if not grant.may_read(channel):
            return error_reply(403, self._quirks, now_ms)
        parameters: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            # Given twice, a list is one with commas, and anything else no value any more.
            parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
        return self.log(grant.account.name, channel).answer(parameters, now_ms, arrived_ms)

    def answer_post(self, path: str, body: bytes, now_ms: int, arrived_ms: int) -> Reply:
        """The reply to a POST; times as in `answer`."""
        reply = self.access.answer(path, body, self._quirks, now_ms, arrived_ms)
        return reply or error_reply(404, self._quirks, now_ms)

    def log(self, account: str, channel: str) -> FaultyLog:
        """The log of an account's channel. Raises KeyError for an account or channel that there is not."""
        log = self._logs.get((account, channel))
        if log is None:
            self.accounts[account]
            LOG_PATHS[channel]
            seed = f"{self.options.seed}:{account}:{channel}"
            traffic = replace(self.options.traffic, networks_told=channel in NETWORK_CHANNELS)
            world = World(traffic, seed, begins_ms=self._begins_ms, keep=self.options.keep_messages)
            log = self._logs[account, channel] = FaultyLog(
                SimulatedLog(world, self._quirks, Random(f"{seed}:log")),
                self._faults,
                Random(f"{seed}:faults"),
            )
        return log

    def logs(self) -> Mapping[tuple[str, str], FaultyLog]:
        """The logs that have been asked for anything so far, by account and channel."""
        return self._logs

    @property
    def begins_ms(self) -> int:
        """When the first generated message may have been sent."""
        return self._begins_ms

    @property
    def quirks(self) -> Quirks:
        return self._quirks

    @quirks.setter
    def quirks(self, quirks: Quirks) -> None:
        """For every log from now on."""
        self._quirks = quirks
        for log in self._logs.values():
            log.log.quirks = quirks

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        """For every log from now on."""
        self._faults = faults
        for log in self._logs.values():
            log.faults = faults
