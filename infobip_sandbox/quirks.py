"""How a simulated API reads what the documents leave open. Each setting is a way the real one may turn out to be."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quirks:
    """Shares lie between 0 and 1; what is drawn for a record is drawn the same each time the record is shown."""

    since_inclusive: bool = True
    until_inclusive: bool = True
    microseconds: bool = False
    """Whether messages are sent within milliseconds, half of them, and a bound names the beginning of one."""
    keeps: Literal["newest", "oldest"] = "newest"
    """Which end of the range a full answer shows."""
    order: Literal["newest_first", "oldest_first", "shuffled"] = "newest_first"
    ties: Literal["stable", "random"] = "stable"
    """Which of the records of one millisecond a full answer shows: the same each time, or any."""
    cursor: Literal["ignored", "offered", "fails_midway", "empty_midway", "rejected"] = "ignored"
    """What becomes of useCursor. Midway is after the second page."""
    strict: bool = True
    """Whether an unknown parameter is an error (400) or nothing."""
    accept_z: bool = False
    """Whether sentSince and sentUntil may end in Z."""
    error_body: Literal["new", "old"] = "new"
    utc_offset_minutes: int = 0
    absent: Literal["missing", "null", "empty", "mixed"] = "mixed"
    """How a record shows what it does not have: no key, null, or an empty object or text."""
    without_content_share: float = 0.0
    new_field_share: float = 0.0
    """Records with fields that no document names."""
    stray_share: float = 0.0
    """Answers that also hold rows from outside the asked range. They take the place of others in a full one."""
    duplicate_share: float = 0.0
    """Answers that hold rows twice, which take up places too."""
    short_share: float = 0.0
    """Answers that hold fewer rows than they should, without a word."""
    most_rows: int = 0
    """The most rows an answer has, whatever `limit` was asked for, without a word; 0 for as many as asked for."""
    ids_heeded: int = 0
    """How many ids of a `messageId` list the API looks for, without a word; 0 for all."""
    broken: tuple[str, ...] = ()
    """Parameters that the API can't serve."""
    broken_how: Literal["500", "400", "timeout", "ignored"] = "500"
    """What a request with one of these gets; `ignored`: an answer as if it were not there."""


DOCUMENTED = Quirks()
"""The plainest reading of the documents."""
