"""What is kept of messages comes back from the ledger as it was."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.counting.known import (
    SETTLED,
    InFlight,
    decode_in_flight,
    decode_settled,
    encode_in_flight,
    encode_settled,
)

SINCE_MS = 1_790_000_000_000
OFFSETS = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), OFFSETS, st.integers(0, 255))))
def test_a_settled_message_takes_13_bytes_and_comes_back(rows: list[tuple[int, int, int]]) -> None:
    settled = np.array([(key, SINCE_MS + offset, flags) for key, offset, flags in rows], SETTLED)
    stored = encode_settled(settled, SINCE_MS)
    assert len(stored) == 13 * len(rows)
    assert decode_settled(stored, SINCE_MS).tolist() == settled.tolist()


@given(st.dictionaries(st.tuples(st.text(), OFFSETS), st.tuples(st.text(), st.text())))
def test_messages_in_flight_come_back(drawn: dict[tuple[str, int], tuple[str, str]]) -> None:
    in_flight = {
        (message_id, SINCE_MS + offset): InFlight(status, (("entity_id", entity),))
        for (message_id, offset), (status, entity) in drawn.items()
    }
    assert decode_in_flight(encode_in_flight(in_flight, SINCE_MS), SINCE_MS) == in_flight
