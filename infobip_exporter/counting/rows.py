"""The records of an answer in columns."""

from collections.abc import Sequence

import numpy as np

from infobip_exporter.counting.known import Identity, id_hashes, scattered
from infobip_exporter.model.record import Record


class Rows:
    """The records of an answer, each message once, and what is reckoned of all of them together.

    `keys` and `id_hashes` as in `known`. `kinds` are the different kinds, `of_kind` is the place of each record's.
    """

    __slots__ = ("id_hashes", "keys", "kinds", "of_kind", "records", "sent_ms")

    def __init__(self, records: Sequence[Record]) -> None:
        self._read(records)
        if len(np.unique(self.keys)) < len(records):
            self._read(_each_once(records))

    def _read(self, records: Sequence[Record]) -> None:
        count = len(records)
        self.records = records
        self.sent_ms = np.fromiter((record.sent_ms for record in records), np.int64, count)
        self.id_hashes = id_hashes([record.message_id for record in records])
        self.keys = self.id_hashes ^ scattered(self.sent_ms)
        places: dict[int, int] = {}
        ids = [id(record.kind) for record in records]
        self.of_kind = np.array([places.setdefault(each, len(places)) for each in ids], np.intp)
        self.kinds = [records[ids.index(each)].kind for each in places]


def _each_once(records: Sequence[Record]) -> list[Record]:
    """The records, of several for one message the one with a final status."""
    best: dict[Identity, Record] = {}
    for record in records:
        who = (record.message_id, record.sent_ms)
        if who not in best or (record.kind.final and not best[who].kind.final):
            best[who] = record
    return list(best.values())
