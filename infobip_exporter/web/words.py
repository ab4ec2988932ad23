"""Figures as a person reads them."""

from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_NO_BREAK = "\u00a0"


def duration(seconds: float) -> str:
    """`seconds` in its two largest units: 45 s, 3 min 20 s, 2 d 1 h. Below a second one decimal is kept."""
    if 0 < seconds < 1:
        return f"{max(seconds, 0.1):.1f}{_NO_BREAK}s"
    rest = round(max(0.0, seconds))
    for place, (unit, size) in enumerate(_UNITS):
        if rest >= size:
            words = [f"{rest // size}{_NO_BREAK}{unit}"]
            if place + 1 < len(_UNITS):
                below, below_size = _UNITS[place + 1]
                if rest % size >= below_size:
                    words.append(f"{rest % size // below_size}{_NO_BREAK}{below}")
            return " ".join(words)
    return f"0{_NO_BREAK}s"


def whole(number: int) -> str:
    """`number` with its thousands set apart: 1,234,567."""
    return f"{number:,}"


def moment(wall_s: float) -> str:
    """`wall_s` since the epoch: 2026-03-01 12:30:05 UTC."""
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def machine_moment(wall_s: float) -> str:
    """`wall_s` since the epoch, for a `datetime` attribute."""
    return f"{datetime.fromtimestamp(wall_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
