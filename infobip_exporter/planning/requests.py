"""What the planner may decide to ask for."""

from dataclasses import dataclass
from enum import Enum

from infobip_exporter.model.time_range import TimeRange


class Why(Enum):
    """What a request is for: the label of its figures in reports, and what the feed does with a failure."""

    HEAD = "head"
    """The new time, and what of the last time fits the page."""
    LEAVING = "leaving"
    """Time or messages about to leave the log."""
    FINAL = "final"
    """The read that makes cells final."""
    BACKLOG = "backlog"
    """Unread time before the watermark."""
    FAILURES = "failures"
    """The newest messages of a failure status."""
    RECHECK = "recheck"
    """Messages in flight, by range or by id."""
    AUDIT = "audit"
    """Final time, once more."""


@dataclass(frozen=True, slots=True)
class ReadRange:
    """Read this range of sent time completely. `open_ended`: ask without an end, for what is sent meanwhile."""

    why: Why
    range: TimeRange
    open_ended: bool = False


@dataclass(frozen=True, slots=True)
class AskNow:
    """Ask what was sent from `range` on, in one answer that proves nothing: a poll always asks."""

    why: Why
    range: TimeRange


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask by messageId for the messages in flight in these cells, named by their `since_ms`; as many as fit a list."""

    why: Why
    cells: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """Read one page of the newest messages of a general status sent in `range`."""

    why: Why
    general_status: str
    range: TimeRange


Request = ReadRange | AskNow | LookUp | ReadStatus
