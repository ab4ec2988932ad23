"""A readable account of a run, written only where somebody reads it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from infobip_exporter.model.time_range import TimeRange


@dataclass(slots=True)
class Trace:
    """Calls with what happened and its details go to `write`, a line each, with the virtual time in front."""

    write: Callable[[str], None] | None = None
    now: Callable[[], str] = lambda: ""

    def __call__(self, what: str, *details: object) -> None:
        if self.write is not None:
            self.write(" ".join((self.now(), f"{what:<8}", *map(str, details))))

    def __bool__(self) -> bool:
        return self.write is not None


class TraceLog:
    """What the feed logs, as lines of the trace; stands in for structlog's logger."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def debug(self, event: str, **fields: Any) -> None:
        self._tell("log:dbg", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._tell("log", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._tell("log:warn", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._tell("log:err", event, fields)

    def bind(self, **_fields: Any) -> "TraceLog":
        return self

    def _tell(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self._trace:
            self._trace(level, event, *(f"{name}={value}" for name, value in fields.items()))


def short(begins_ms: int, ranges: Iterable[TimeRange]) -> str:
    """Ranges in seconds from the begin of the run."""
    return (
        " ".join(f"[{(a - begins_ms) / 1000:.3f},{(b - begins_ms) / 1000:.3f})" for a, b in ranges) or "none"
    )
