"""What a feed may be asked to do next, and which class of work it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from infobip_exporter.ledger.changes import Remembered
from infobip_exporter.reading.spans import Span


class Why(Enum):
    """The classes of work that share the budget."""

    FRESH = "fresh"
    RESCUE = "rescue"
    AGAIN = "again"
    LOOK = "look"
    BACKLOG = "backlog"


@dataclass(frozen=True, slots=True)
class ReadSpan:
    """Read this span of sent time."""

    why: Why
    span: Span
    looked_ms: Mapping[int, int] | None = None
    """The rungs of the ladder that are done with it."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up these messages by id, in one request."""

    messages: Mapping[str, Remembered]
    looked_ms: Mapping[int, int]
    why: Why = Why.LOOK


Task = ReadSpan | LookUp
