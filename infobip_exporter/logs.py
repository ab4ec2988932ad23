"""How log lines look: logfmt as in Prometheus' own programs, JSON, or columns for a person.

Log with `structlog.get_logger()`; an event is a short sentence, the rest goes into key=value.
"""

import atexit
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.typing import EventDict, Processor

from infobip_exporter.config.schema import Log
from infobip_exporter.log_writer import LogWriter
from infobip_exporter.model.secret import Secret

_SHORTEST_SECRET = 6
"""Characters below which a made-up key is a word that lines may well contain."""

_FLUSH_WITHIN_S = 1.0
"""For the last lines to be written when the process ends: whoever stops it waits for that."""

_writer: LogWriter | None = None
"""The process's own: one thread writes, however often the logs are configured."""


def configure(log: Log, stream: TextIO | None = None, secrets: Iterable[Secret] = ()) -> None:
    """Send every log line to `stream` (default stderr) in `log.format`, from `log.level` up.

    What other libraries log goes the same way, from warnings up. One of `secrets` in a line is blanked. A thread
    writes the lines: logging neither waits for the output nor fails with it.
    """
    out = sys.stderr if stream is None else stream
    steps: list[Processor] = [_head, ExceptionRenderer(), *_renderers(log.format, out), _without(secrets)]

    def line(method: str, event: EventDict) -> str:
        result: Any = event
        for step in steps:
            result = step(None, method, result)
        return str(result)

    def render(_: Any, method: str, event: EventDict) -> str:
        try:
            return line(method, event)
        except Exception:  # noqa: BLE001 - whatever a value's own __str__ raises, the work goes on
            writer.drop()
            raise structlog.DropEvent from None

    def tell(count: int) -> str:
        return line("warning", {"event": "log lines could not be written, dropped", "lines": count})

    writer = _writer_to(out, tell)
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[log.level.upper()]
        ),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    logging.root.handlers = [_ToStructlog()]
    logging.root.setLevel(logging.WARNING)


def lines_dropped() -> int:
    """Log lines that could not be written since the start of the process."""
    return _writer.dropped if _writer else 0


def flush(within_s: float = _FLUSH_WITHIN_S) -> None:
    """Wait until what was logged so far is written or dropped, for `within_s` at most."""
    if _writer:
        _writer.flush(within_s)


def _writer_to(out: TextIO | None, tell: Callable[[int], str]) -> LogWriter:
    global _writer
    if _writer is None:
        atexit.register(flush)
    if _writer is not None and _writer.stream is out:
        _writer.tell = tell
    else:
        before, _writer = _writer, LogWriter(out, tell, _writer.dropped if _writer else 0)
        if before:
            before.end()
    return _writer


def _renderers(form: str, out: TextIO | None) -> list[Processor]:
    if form == "json":
        return [JSONRenderer(default=str, ensure_ascii=False)]
    if form == "logfmt":
        return [_logfmt]
    console = structlog.dev.ConsoleRenderer(
        colors=out is not None and out.isatty() and "NO_COLOR" not in os.environ,
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        event_key="msg",
        timestamp_key="ts",
    )
    return [_printable, console]


def _head(_: Any, method: str, event: EventDict) -> EventDict:
    """Time, level and message first, under the names that Prometheus gives them."""
    now = datetime.now(UTC)
    head = {
        "ts": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
        "level": "warn" if method == "warning" else method,
        "msg": event.pop("event", ""),
    }
    return {**head, **event, **head}  # Twice: first in order, and not to be overwritten.


def _without(secrets: Iterable[Secret]) -> Processor:
    """Takes the secrets out of the finished line, where nothing can add one any more."""
    plain = [secret.reveal() for secret in secrets if len(secret.reveal()) >= _SHORTEST_SECRET]
    # A secret that holds a quote or a backslash may also stand there with JSON's escapes.
    forms = sorted({*plain, *(json.dumps(text)[1:-1] for text in plain)}, key=len, reverse=True)

    def processor(_: Any, __: str, line: Any) -> str:
        text = str(line)
        for form in forms:
            text = text.replace(form, "<secret>")
        return text

    return processor


def _printable(_: Any, __: str, event: EventDict) -> EventDict:
    """Control characters in a value must not reach a terminal, nor begin a line that looks like another event."""
    return {key: _escaped(value, keep="\n" if key == "exception" else "") for key, value in event.items()}


def _escaped(value: object, keep: str = "") -> object:
    text = str(value)
    if text.isprintable():
        return value
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)


def _logfmt(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if text and text.isprintable() and not any(c in text for c in ' "=\\'):
        return text
    # JSON's escapes are those that logfmt's readers know; printable letters of any script stay as they are.
    return str(_escaped(json.dumps(text, ensure_ascii=False)))


class _ToStructlog(logging.Handler):
    """Hands on what libraries log with the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        log = getattr(structlog.get_logger(), level)
        try:
            log(record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a log line must never end the program
            if _writer:
                _writer.drop()
