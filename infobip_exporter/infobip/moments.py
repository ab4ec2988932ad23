"""Reading the API's timestamps, such as 2023-02-01T23:15:03.379+0000, as milliseconds since the epoch."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.model.record import NO_TIME_MS

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


_FORM = np.frombuffer(b"0000-00-00T00:00:00.000+0000", np.uint8)
"""As the API writes them."""
_WITHOUT_OFFSET = len("0000-00-00T00:00:00.000")
_DIGITS = np.flatnonzero(_FORM[:_WITHOUT_OFFSET] == ord("0"))
_MANY = 30
"""Below this one by one is faster: 1 µs each, against 15 µs at the least for all together."""
_REST = np.setdiff1d(np.arange(len(_FORM)), _DIGITS)


def moments_ms(texts: Sequence[str]) -> NDArray[np.int64]:
    """`moment_ms` of each, `NO_TIME_MS` for None; five times as fast for a page of them, written as the API does."""
    if len(texts) < _MANY:
        return _one_by_one(texts)
    written = "".join(texts).encode("ascii", "replace")
    if len(written) == len(_FORM) * len(texts):
        table = np.frombuffer(written, np.uint8).reshape(-1, len(_FORM))
        digits = table[:, _DIGITS] - ord("0")  # what is no digit becomes more than 9: the bytes have no sign
        if not (digits > 9).any() and (table[:, _REST] == _FORM[_REST]).all():
            without_offset = (
                np.ascontiguousarray(table[:, :_WITHOUT_OFFSET]).view(f"S{_WITHOUT_OFFSET}").ravel()
            )
            try:
                found = without_offset.astype("datetime64[ms]").astype(np.int64)
            except ValueError:  # the 30th of February
                return _one_by_one(texts)
            if not len(found) or found.min() >= _FIRST_MS:
                return found
    return _one_by_one(texts)


def _one_by_one(texts: Sequence[str]) -> NDArray[np.int64]:
    found = (NO_TIME_MS if ms is None else ms for ms in map(moment_ms, texts))
    return np.fromiter(found, np.int64, len(texts))
