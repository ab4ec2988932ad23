"""The records of an answer, and what is reckoned of all of them together."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from infobip_exporter.counting.known import Identity, id_hashes, is_in, scattered
from infobip_exporter.model.record import Record, Records


class Rows:
    """The records of an answer, each message once, with their `keys` and `id_hashes` as in `known`."""

    __slots__ = ("_ordered_keys", "id_hashes", "keys", "records")

    def __init__(self, records: Records) -> None:
        self._read(records)
        if (self._ordered_keys[1:] == self._ordered_keys[:-1]).any():
            self._read(_each_once(records))

    def _read(self, records: Records) -> None:
        self.records = records
        self.id_hashes = id_hashes(records.message_ids)
        self.keys = self.id_hashes ^ scattered(records.sent_ms)
        self._ordered_keys = np.sort(self.keys)

    def show(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these messages are in the answer."""
        return is_in(self._ordered_keys, keys)


def _each_once(records: Iterable[Record]) -> Records:
    """The records, of several for one message the one with a final status."""
    best: dict[Identity, Record] = {}
    for record in records:
        who = (record.message_id, record.sent_ms)
        if who not in best or (record.kind.final and not best[who].kind.final):
            best[who] = record
    return Records.of(best.values())
