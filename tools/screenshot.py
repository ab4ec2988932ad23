"""The pictures of the status page in the docs: `python -m tools.screenshot` takes them anew, with Debian's Chromium.

What they show is made up: each feed of it is in another state. Each picture keeps a hash of the page it was taken
of, by which a test knows one that is stale; its bytes depend on the browser's version and the fonts.
"""

import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from infobip_exporter.infobip.refusal import describe_refusal
from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import FeedSnapshot, Incident, PastIncident
from infobip_exporter.model.series import Series
from infobip_exporter.web import status_page
from tools.browser import Screen, browser

REPOSITORY = Path(__file__).parents[1]
SCREENS: Mapping[str, Screen] = {
    "docs/pictures/status-page.png": Screen(1072, 740, "light"),
    "docs/pictures/status-page-phone.png": Screen(360, 740, "dark", scale=1.5, touch=True),
}
"""Each picture, and what it is taken on: of a phone its first screen, of a desk the whole page."""

NOW_S = 1_772_388_005.0
"""2026-03-01 18:00:05 UTC."""

_HASH = b"Page SHA-256"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def page() -> str:
    """The status page that the pictures show."""
    return status_page.render(_feeds(), NOW_S, "0.1.0", "https://docs.example/")


def page_hash() -> str:
    return hashlib.sha256(page().encode()).hexdigest()


def hash_in(png: bytes) -> str | None:
    """The hash of the page that a picture was taken of; None if it says nothing of it."""
    place = len(_SIGNATURE)
    while place < len(png):
        [size] = struct.unpack_from(">I", png, place)
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        if kind == b"tEXt" and body.startswith(_HASH + b"\0"):
            return body.partition(b"\0")[2].decode("latin-1")
        place += size + 12
    return None


def take() -> Mapping[str, bytes]:
    """The PNG of each picture by its path below the repository."""
    html, known = page(), page_hash()
    taken: dict[str, bytes] = {}
    with browser() as running:
        for path, screen in SCREENS.items():
            with running.page(screen) as shown:
                shown.fill(html)
                taken[path] = _with_hash(shown.picture(whole=not screen.touch), known)
    return taken


def _with_hash(png: bytes, known: str) -> bytes:
    """`png` with a text that says `known`, behind its header (which is 25 bytes, by its standard)."""
    chunk = b"tEXt" + _HASH + b"\0" + known.encode()
    header_end = len(_SIGNATURE) + 25
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:header_end] + text + png[header_end:]


def _feeds() -> list[FeedSnapshot]:
    day = round(NOW_S // 3600)
    refused = f"401: {describe_refusal(401, b'', 'the API key is wrong or no longer valid', ())}"
    sent, pending = Series.of(catalog.SENT.name), Series.of(catalog.IN_FLIGHT.name, general_status="PENDING")
    return [
        FeedSnapshot(
            "shop", "instagram", up=True, last_poll_s=NOW_S - 12, last_success_s=NOW_S - 12,
            read_up_to_ms=round((NOW_S - 14) * 1000), requests_per_minute=100.0, requests_last_minute=7,
            counters={sent: 1_234_567}, in_flight={pending: 163}, by_hour=_traffic(day, 2400),
        ),
        FeedSnapshot(
            "shop", "sms", up=True, last_poll_s=NOW_S - 3, last_success_s=NOW_S - 3,
            read_up_to_ms=round((NOW_S - 9840) * 1000), backlog_ms=9_826_000,
            requests_per_minute=60.0, requests_last_minute=60,
            counters={sent: 98_765, Series.of(catalog.LOST.name, reason="expired"): 5400},
            in_flight={pending: 42}, by_hour=_traffic(day - 3, 310),
            last_incident=PastIncident("503: Service Unavailable", NOW_S - 190_000, NOW_S - 9_900),
        ),
        FeedSnapshot(
            "outlet", "instagram", up=False, last_poll_s=NOW_S - 20, last_success_s=NOW_S - 7200,
            read_up_to_ms=round((NOW_S - 7202) * 1000), requests_per_minute=100.0, requests_last_minute=2,
            counters={sent: 45_678}, in_flight={pending: 12}, by_hour=_traffic(day - 2, 96),
            incident=Incident(refused, NOW_S - 7190, refused=True),
        ),
        FeedSnapshot("outlet", "messenger", requests_per_minute=100.0, requests_last_minute=1),
    ]  # fmt: skip


def _traffic(last_hour: int, at_noon: int) -> dict[int, dict[str, int]]:
    """A day of messages by hour and status up to `last_hour`: a wave with its crest in the afternoon."""
    hours = {}
    for hour in range(last_hour - 23, last_hour):
        settled = at_noon * (0.55 + 0.45 * math.sin((hour % 24 - 8.5) * math.pi / 12))
        rejected = 0.16 if hour == last_hour - 7 else 0.011
        shares = {
            "DELIVERED": 0.96 - rejected,
            "REJECTED": rejected,
            "UNDELIVERABLE": 0.031,
            "EXPIRED": 0.009,
        }
        hours[hour] = {status: round(settled * share) for status, share in shares.items()}
    return hours


if __name__ == "__main__":
    for path, png in take().items():
        (REPOSITORY / path).write_bytes(png)
