"""The start of a feed: it learns the API's time, and a new one begins to count."""

from structlog.typing import FilteringBoundLogger

from infobip_exporter.errors import RequestFailed
from infobip_exporter.feed.clock import Clock
from infobip_exporter.feed.expiry import exempt_from_audit
from infobip_exporter.feed.sender import Sender
from infobip_exporter.feed.settings import Settings
from infobip_exporter.feed.writer import Writer
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import DAY_MS, TimeRanges

TIMES_ASKED = 5
"""How many answers may fail to tell the API's time at the start before the exporter begins without."""
START_INSIDE_MS = 60_000
"""A first start reads this much less than the log keeps: what is about to leave can't be promised."""


async def learn_time(sender: Sender, writer: Writer, clock: Clock) -> bool:
    """Ask until answers have told the API's time. False if the poll has ended before."""
    asked = 0
    newest = True
    while not sender.knows_time and asked < TIMES_ASKED:
        if not await sender.wait_for_turn():
            return False
        day_ago_ms = round(clock.wall_s() * 1000) - DAY_MS
        await sender.reserve()
        try:
            await sender.send(Query(limit=1) if newest else Query(day_ago_ms, day_ago_ms + 1, limit=1))
        except RequestFailed as failure:
            newest = not newest  # the API may be unable to show the newest row
            sender.failed(failure)
            await writer.commit()
            continue
        sender.succeeded()
        asked += 1
    return True


async def begin(writer: Writer, settings: Settings, now_ms: int, log: FilteringBoundLogger) -> None:
    """Begin to count where the feed is new. What was read under other filters can't be held against the log any more."""
    if writer.progress.filters != settings.filters:
        if len(writer.ledger.cells):
            log.warning("filters have changed, time read before is not audited")
        await exempt_from_audit(writer)
        writer.move(filters=settings.filters)
    if writer.progress.begin_ms is None:
        lookback_ms = min(round(settings.poll.lookback_s * 1000), LOG_KEEPS_MS - START_INSIDE_MS)
        begin_ms = now_ms - lookback_ms
        writer.move(
            begin_ms=begin_ms,
            first_ms=begin_ms,
            watermark_ms=now_ms,
            unread=TimeRanges([(begin_ms, now_ms)]),
        )
        # Where counting begins is promised from here on, even to a process that is killed before it reads a page.
        await writer.commit()
