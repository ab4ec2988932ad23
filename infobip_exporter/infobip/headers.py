"""What the answer's headers say: the API's clock, and how long to wait."""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_WAIT_S = 3600.0
"""A Retry-After beyond this is not followed: an account that is well again in an hour should be read."""

_SECONDS = re.compile(r"-?[0-9]{1,12}(\.[0-9]*)?")


def date_ms(headers: Mapping[str, str]) -> int | None:
    """The Date header in milliseconds since the epoch (whole seconds); None where it is missing or no date."""
    return _http_date_ms(headers.get("date", ""))


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """How many seconds Retry-After asks to wait, 0 to LONGEST_WAIT_S; None where it is missing or unreadable.

    A date in it is compared with the answer's own Date; `wall_s`, our clock, stands in where there is none.
    """
    text = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        until_ms = _http_date_ms(text)
        if until_ms is None:
            return None
        sent_ms = date_ms(headers)
        wait_s = until_ms / 1000 - (wall_s if sent_ms is None else sent_ms / 1000)
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def _http_date_ms(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000": in UTC, by RFC 5322
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
