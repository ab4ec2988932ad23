"""Durations as Prometheus writes them: whole numbers with units, the larger unit first (`30s`, `1h30m`, `500ms`)."""

import re

_UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS_MS))

FORM = (
    "whole numbers with a unit, larger units first, such as 500ms, 30s, 2m, 1h30m (units: w, d, h, m, s, ms)"
)
"""What a duration may look like, for error texts."""


def parse_duration(text: str) -> float:
    """The seconds that `text` names. `0` needs no unit. ValueError says what is allowed."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ValueError(FORM)
    ms = sum(
        int(amount) * size for amount, size in zip(match.groups(), _UNITS_MS.values(), strict=True) if amount
    )
    return ms / 1000


def format_duration(seconds: float) -> str:
    """`seconds` (not negative, rounded to milliseconds) in the form that `parse_duration` reads: 5400 is `1h30m`.

    Weeks and days are told in hours, as people speak of the 48 h log.
    """
    rest_ms = round(seconds * 1000)
    parts = []
    for unit in ("h", "m", "s", "ms"):
        amount, rest_ms = divmod(rest_ms, _UNITS_MS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
