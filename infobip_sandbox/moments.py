"""Moments as the API reads and writes them: 2020-02-22T17:42:05.390+0100."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_PATTERN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:[+-]\d\d:?\d\d|Z)")


def read_moment(text: str, *, accept_z: bool) -> int | None:
    """Milliseconds since the epoch; None when `text` is not in the API's format (`Z` only if `accept_z`)."""
    if not _PATTERN.fullmatch(text) or (text.endswith("Z") and not accept_z):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def write_moment(ms: int, offset_minutes: int) -> str:
    """`ms` since the epoch in the time zone of the account, its offset without a colon."""
    second, rest = divmod(ms, 1000)
    before, after = _second(second, offset_minutes)
    return f"{before}.{rest:03d}{after}"


@lru_cache(maxsize=200_000)
def _second(second: int, offset_minutes: int) -> tuple[str, str]:
    zone = timezone(timedelta(minutes=offset_minutes))
    moment = datetime.fromtimestamp(second, zone)
    return f"{moment:%Y-%m-%dT%H:%M:%S}", f"{moment:%z}"
