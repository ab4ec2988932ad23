"""Reading the configuration anew while running: asked for by SIGHUP or over HTTP, done in the main thread."""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter

import structlog

from infobip_exporter.config.load import warnings
from infobip_exporter.config.schema import Config
from infobip_exporter.errors import ConfigError, ExporterError
from infobip_exporter.metrics.snapshot import Reloaded
from infobip_exporter.signals import SIGNALS

ANSWER_WITHIN_S = 60.0

_log = structlog.get_logger()


class Reloads:
    """Who wants the configuration anew, and what they are told. `reread` gives it; an error of it is a refusal."""

    def __init__(self, reread: Callable[[], Config]) -> None:
        self._reread = reread
        self._asked: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
        self._is_ending = False

    def ask(self) -> None:
        """Have it done and wait for the end. From any thread but the main one. Raises what `serve` was refused with."""
        answer: Future[None] = Future()
        self._asked.put(answer)
        if self._is_ending:
            self.end()
        answer.result(ANSWER_WITHIN_S)

    def end(self) -> None:
        """Refuse whoever asks from now on: the process ends, and their threads would keep it from that."""
        self._is_ending = True
        with suppress(queue.Empty):
            while True:
                self._asked.get_nowait().set_exception(ConfigError(["the exporter is ending"]))

    async def serve(self, last: Reloaded, change_to: Callable[[Config], Awaitable[None]]) -> Reloaded:
        """Reload if somebody has asked for it: how that went, else `last`. All who have asked get one answer.

        `change_to` goes on with the configuration that was read, or raises to refuse it. No error gets out of here:
        whatever is wrong with a new configuration, the process goes on with the old one.
        """
        asked = [self._asked.get() for _ in range(self._asked.qsize())]
        if not asked and not SIGNALS.reload_wanted:
            return last
        SIGNALS.reload_wanted = False
        try:
            refusal = await self._change(change_to)
        except asyncio.CancelledError:
            for each in asked:
                self._asked.put(each)  # for `end`
            raise
        for each in asked:
            each.set_exception(refusal) if refusal else each.set_result(None)
        return (
            replace(last, successful=False) if refusal else Reloaded(successful=True, success_s=time.time())
        )

    async def _change(self, change_to: Callable[[Config], Awaitable[None]]) -> ExporterError | None:
        """What it was refused with, if it was."""
        try:
            config = self._reread()
            await change_to(config)
        except ExporterError as error:
            _log.error("reloading the configuration failed, keeping the old one", error=str(error))
            return error
        except Exception as error:  # noqa: BLE001 - no configuration may end a process that counts
            _log.exception("reloading the configuration failed, keeping the old one")
            return ExporterError(f"internal error, {type(error).__name__}: see the log")
        _log.info("configuration reloaded")
        for warning in warnings(config):
            _log.warning(warning)
        return None


_FIXED = (
    "state.url state.lease_s state.password_file web.listen_address "
    "log.level log.format web.allowed_hosts web.config_file"
).split()


def refuse_what_can_not_change(old: Config, new: Config) -> None:
    """ConfigError names each setting that differs and would need a restart."""
    problems = [
        f"{field.removesuffix('_s')}: can't change while running: restart"
        for field in _FIXED
        if attrgetter(field)(old) != attrgetter(field)(new)
    ]
    if problems:
        raise ConfigError(problems)
