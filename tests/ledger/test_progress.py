"""How far a feed has come survives a restart."""

from infobip_exporter.infobip.rate_limit import Kept
from infobip_exporter.ledger.progress import Progress, decode, encode
from infobip_exporter.model.time_range import TimeRanges


def test_progress_comes_back_as_it_was() -> None:
    progress = Progress(
        begin_ms=10,
        watermark_ms=500,
        unread=TimeRanges([(20, 30), (40, 50)]),
        last_sent_ms=499,
        requests=Kept((1.0, 2.5), 100.0, 3.0, "boot"),
        settling=(0.5, 1.0),
        statuses=("DELIVERED", "REJECTED"),
        lateness_ms=((400, 30),),
        missed_ms=450,
        skew_s=-1.5,
        filters="ab12",
    )
    assert decode(encode(progress)) == progress
    assert decode(encode(Progress())) == Progress()


def test_all_has_been_read_up_to_the_first_unread_time() -> None:
    assert Progress().read_up_to_ms is None
    assert Progress(begin_ms=10, watermark_ms=500).read_up_to_ms == 500
    assert Progress(begin_ms=10, watermark_ms=500, unread=TimeRanges([(40, 50)])).read_up_to_ms == 40
