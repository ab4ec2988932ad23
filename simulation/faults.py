"""The deliberate faults that `simulation.mutants` puts into the core."""

from typing import NamedTuple

PLANNING, FEED, COUNTING = (
    "infobip_exporter/planning/",
    "infobip_exporter/feed/",
    "infobip_exporter/counting/",
)
LEDGER, INFOBIP = "infobip_exporter/ledger/", "infobip_exporter/infobip/"


class Mutant(NamedTuple):
    """In the file `path`, `old`, which is there once, becomes `new`."""

    path: str
    says: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """`text` with the fault in it. Raises ValueError where the code is not what it was."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path}: {text.count(self.old)} places for the fault '{self.says}'")
        return text.replace(self.old, self.new)


MUTANTS = (
    # Queries and what they prove
    Mutant(
        INFOBIP + "query.py", "the first millisecond is not asked wider",
        "self.since_ms if self.tight_since else self.since_ms - 1", "self.since_ms",
    ),
    Mutant(
        INFOBIP + "query.py", "the last millisecond is not asked wider",
        "self.until_ms - 1 if self.tight_until else self.until_ms", "self.until_ms - 1",
    ),
    Mutant(
        PLANNING + "range_read.py", "a full page proves its range",
        "return page.rows >= limit", "return page.rows > limit",
    ),
    Mutant(
        PLANNING + "range_read.py", "an answer that the server may have capped proves its range",
        "return 0 < page.rows < limit and page.rows % COMMON_CAP == 0", "return False",
    ),
    Mutant(
        PLANNING + "oversized.py", "a read by cursor that breaks off counts as whole",
        "return 0 < page.rows < self.limit and before <= seen", "return True",
    ),
    Mutant(
        PLANNING + "oversized.py", "a split is whole whatever it shows",
        "if whole and to_show <= shown and all_shown <= shown:", "if whole:",
    ),
    Mutant(
        FEED + "feed.py", "records outside of the asked range are taken for records in it",
        "[r for r in page.records if part.holds(r.sent_ms)]", "page.records",
    ),
    # What a page means
    Mutant(
        COUNTING + "count.py", "a message that settles stays in the gauge",
        "            self._changes.in_flight[in_flight_series(before)] -= 1\n"
        "            del self._known.in_flight[record.message_id, sent_ms]\n",
        "            del self._known.in_flight[record.message_id, sent_ms]\n",
    ),
    Mutant(
        COUNTING + "count.py", "a price that is there later is not added",
        "if flags & WITHOUT_PRICE and not now & WITHOUT_PRICE:", "if False:",
    ),
    Mutant(
        COUNTING + "count.py", "cost leaves out all messages of a kind but one",
        "EXACT.multiply(cost, messages)", "EXACT.multiply(cost, 1)",
    ),
    Mutant(
        COUNTING + "known.py", "the sent time does not tell messages with one id apart",
        "return sent_ms.astype(np.uint64) * _SCATTER", "return sent_ms.astype(np.uint64) * np.uint64(0)",
    ),
    Mutant(
        COUNTING + "audit.py", "the audit takes missed messages for verified ones",
        "missed = max(0, len(in_log) - cell.messages)", "missed = 0",
    ),
    # Recording
    Mutant(
        FEED + "recorder.py", "time that was read stays unread",
        "self.move(unread=self.progress.unread.remove(reading.proven))", "pass",
    ),
    Mutant(
        FEED + "recorder.py", "time that left the log unread is not reported",
        'self._lose(changes, lost.total_ms, "expired")', "pass",
    ),
    Mutant(
        FEED + "recorder.py", "messages in flight that leave the log are forgotten",
        "            changes.add(unresolved_series(message), 1)\n", "",
    ),
    Mutant(
        FEED + "recorder.py", "the watermark leaves what was not read behind",
        "self.move(unread=TimeRanges([*progress.unread, *new]), watermark_ms=watermark_ms)",
        "self.move(watermark_ms=watermark_ms)",
    ),
    Mutant(
        FEED + "recorder.py", "no requests are reserved",
        "times=kept.times + reserved", "times=kept.times",
    ),
    # The budget and the clock
    Mutant(INFOBIP + "rate_limit.py", "a minute of 50 s", "WINDOW_S = 60.05", "WINDOW_S = 50.0"),
    Mutant(
        INFOBIP + "clock.py", "answers that contradict each other are certain",
        "certain=not self._doubted,", "certain=True,",
    ),
)  # fmt: skip
