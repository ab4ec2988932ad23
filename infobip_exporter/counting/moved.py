"""Whether a message is known at another sent time: that of some moves between two reads."""

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.known import Known, id_hashes, is_in, scattered
from infobip_exporter.model.record import Record

MOVED_MS = 10_000
"""A sent time that moves by less between two reads is the same message's (DESIGN: provisional time)."""


def has_id(known: Known, wanted: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether a message with these hashes of its id is known, at whatever sent time."""
    settled = known.settled
    if not len(settled) and not known.in_flight:
        return np.zeros(len(wanted), np.bool_)
    in_flight = id_hashes([message_id for message_id, _ in known.in_flight])
    return is_in(np.sort(np.append(settled["key"] ^ scattered(settled["sent_ms"]), in_flight)), wanted)


def near(known: Known, record: Record, id_hash: int) -> list[tuple[int, int | None]]:
    """Where the id of `record` is known less than `MOVED_MS` away, nearest first: sent time, and place among the settled."""
    settled = known.settled
    close = np.abs(settled["sent_ms"] - record.sent_ms) < MOVED_MS
    same = close & ((settled["key"] ^ scattered(settled["sent_ms"])) == np.uint64(id_hash))
    found: list[tuple[int, int | None]] = [
        (int(settled["sent_ms"][place]), int(place)) for place in np.flatnonzero(same)
    ]
    found += [
        (sent_ms, None)
        for message_id, sent_ms in known.in_flight
        if message_id == record.message_id and abs(sent_ms - record.sent_ms) < MOVED_MS
    ]
    return sorted(found, key=lambda each: abs(each[0] - record.sent_ms))
