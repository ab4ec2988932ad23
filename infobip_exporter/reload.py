"""Reading the configuration anew while running: asked for by SIGHUP or over HTTP, done in the main thread."""

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import structlog

from infobip_exporter.config.schema import Config
from infobip_exporter.errors import ConfigError, ExporterError
from infobip_exporter.exposition.snapshot import Reloaded

ANSWER_WITHIN_S = 60.0

_log = structlog.get_logger()


class Reloads:
    """`reread` gives the configuration, `change_to` goes on with it; both raise an ExporterError to refuse it."""

    def __init__(self, reread: Callable[[], Config], change_to: Callable[[Config], None]) -> None:
        self._reread = reread
        self._change_to = change_to
        self._asked: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
        self.wanted = False
        """Set by the signal's handler, which may do no more than that."""

    def ask(self) -> None:
        """Have it done and wait for the end. From any thread but the main one. Raises what `serve` was refused with."""
        answer: Future[None] = Future()
        self._asked.put(answer)
        answer.result(ANSWER_WITHIN_S)

    def serve(self, last: Reloaded) -> Reloaded:
        """Reload if somebody has asked for it: how that went, else `last`. All who have asked get one answer."""
        asked: list[Future[None]] = []
        while not self._asked.empty():
            asked.append(self._asked.get())
        if not asked and not self.wanted:
            return last
        self.wanted = False
        try:
            self._change_to(self._reread())
        except ExporterError as error:
            _log.error("the configuration was not reloaded, the last one holds", error=str(error))
            for each in asked:
                each.set_exception(error)
            return replace(last, successful=False)
        _log.info("configuration reloaded")
        for each in asked:
            each.set_result(None)
        return Reloaded(successful=True, success_s=time.time())


def refuse_what_can_not_change(old: Config, new: Config) -> None:
    """ConfigError names each setting that differs and would need a restart."""
    fixed = {
        "state.url": (old.state.url, new.state.url),
        "web.listen_address": (old.web.listen_address, new.web.listen_address),
        "log.level": (old.log.level, new.log.level),
        "log.format": (old.log.format, new.log.format),
        "web.config_file": (old.web.config_file, new.web.config_file),
    }
    problems = [
        f"{key}: can't change while running: restart" for key, (was, wanted) in fixed.items() if was != wanted
    ]
    if problems:
        raise ConfigError(problems)
