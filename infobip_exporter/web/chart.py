"""The last day's messages by status, as a small inline SVG: a bar an hour, a colour a status."""

from collections.abc import Mapping
from html import escape

from infobip_exporter.web.words import whole

HOURS = 24

_WIDTH, _TOP, _BOTTOM, _FOOT = 480, 24, 120, 144
_STEP = _WIDTH / HOURS
_GAP = 3
_LEAST = 1.5
"""Height of what is there but too little to be drawn to scale: one REJECTED among thousands must be seen."""

_TONES = {
    "DELIVERED": "delivered",
    "REJECTED": "rejected",
    "UNDELIVERABLE": "undeliverable",
    "EXPIRED": "expired",
}


def tone(status: str) -> str:
    """The style sheet's name for the colour of `status`; all that nobody has heard of share one."""
    return _TONES.get(status, "other")


def totals(by_hour: Mapping[int, Mapping[str, int]], now_s: float) -> dict[str, int]:
    """Messages of the last day by status: the known ones in their usual order, then the others by name."""
    found: dict[str, int] = {}
    for counts in _day(by_hour, now_s):
        for status, count in counts.items():
            found[status] = found.get(status, 0) + count
    order = list(_TONES)
    return dict(
        sorted(found.items(), key=lambda each: (order.index(each[0]) if each[0] in _TONES else 99, each[0]))
    )


def chart(by_hour: Mapping[int, Mapping[str, int]], now_s: float, title: str) -> str:
    """The SVG. `by_hour` is hours since the epoch (UTC) -> status -> messages, `title` is for who can't see it."""
    day = _day(by_hour, now_s)
    statuses = list(totals(by_hour, now_s))
    most = max((sum(counts.values()) for counts in day), default=0)
    first_hour = int(now_s // 3600) - HOURS + 1
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_FOOT}" role="img" aria-label="{escape(title)}">',
        f'<line class="grid" x1="0" y1="{_TOP}" x2="{_WIDTH}" y2="{_TOP}"/>',
        f'<text class="axis" x="0" y="{_TOP - 6}">{whole(most)} an hour</text>',
    ]
    for place, counts in enumerate(day):
        parts.append(_bar(place, (first_hour + place) % 24, counts, statuses, most))
    parts.append(f'<line class="base" x1="0" y1="{_BOTTOM}" x2="{_WIDTH}" y2="{_BOTTOM}"/>')
    parts.extend(_hour_mark(place, (first_hour + place) % 24) for place in range(HOURS))
    return "".join([*parts, "</svg>"])


def _day(by_hour: Mapping[int, Mapping[str, int]], now_s: float) -> list[Mapping[str, int]]:
    last = int(now_s // 3600)
    return [by_hour.get(hour, {}) for hour in range(last - HOURS + 1, last + 1)]


def _hour_mark(place: int, hour: int) -> str:
    if hour % 6:
        return ""
    anchor = "start" if place == 0 else "end" if place == HOURS - 1 else "middle"
    across = {"start": 0.0, "end": _WIDTH, "middle": (place + 0.5) * _STEP}[anchor]
    return f'<text class="axis" text-anchor="{anchor}" x="{across:.0f}" y="{_FOOT - 4}">{hour:02d}:00</text>'


def _bar(place: int, hour: int, counts: Mapping[str, int], statuses: list[str], most: int) -> str:
    there = [status for status in statuses if counts.get(status)]
    if not there:
        return ""
    said = ", ".join(f"{whole(counts[status])} {status}" for status in there)
    parts = [f"<g><title>{hour:02d}:00 to {(hour + 1) % 24:02d}:00 UTC: {escape(said)}</title>"]
    room = _BOTTOM - _TOP - _LEAST * len(statuses)
    floor = float(_BOTTOM)
    for status in there:
        height = _LEAST + room * counts[status] / most
        floor -= height
        parts.append(
            f'<rect class="{tone(status)}" x="{place * _STEP + _GAP / 2:.1f}" y="{floor:.1f}" '
            f'width="{_STEP - _GAP:.1f}" height="{height:.1f}"/>'
        )
    return "".join([*parts, "</g>"])
