"""Reading the API's timestamps, such as 2023-02-01T23:15:03.379+0000, as milliseconds since the epoch."""

from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = -62_135_596_800_000
_LAST_MS = 253_402_300_799_999
"""The years 1 and 9999 in UTC: beyond them a moment could not be written again."""
_read_iso = datetime.fromisoformat


def moment_ms(text: str) -> int | None:
    """The moment that `text` names, in milliseconds since the epoch, UTC; None where it names none.

    Any ISO 8601 time with an offset is read (`+0000`, `+01:00`, `-03`, `Z`); without one the moment is unknown. The
    fraction may be missing; digits beyond the third are cut off. A moment outside the years 1 to 9999 is none.
    """
    try:
        since_epoch = _read_iso(text) - _EPOCH
    except (ValueError, TypeError):  # TypeError: a time without an offset
        return None
    # By parts: dividing one timedelta by another takes longer than all the rest.
    ms = since_epoch.days * 86_400_000 + since_epoch.seconds * 1000 + since_epoch.microseconds // 1000
    return ms if _FIRST_MS <= ms <= _LAST_MS else None
