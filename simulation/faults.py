"""The deliberate faults that `simulation.mutants` puts into the core."""

from typing import NamedTuple

PLANNING, FEED, COUNTING = (
    "infobip_exporter/planning/",
    "infobip_exporter/feed/",
    "infobip_exporter/counting/",
)
LEDGER, INFOBIP = "infobip_exporter/ledger/", "infobip_exporter/infobip/"
REPLICAS = "simulation.replicas"


class Mutant(NamedTuple):
    """In the file `path`, `old`, which is there once, becomes `new`."""

    path: str
    says: str
    old: str
    new: str
    module: str = "simulation"
    """What is run to catch it."""

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
        FEED + "answers.py", "records outside of the asked range are taken for records in it",
        "page.records.where(job.query.holds(page.records.sent_ms))", "page.records",
    ),
    Mutant(
        FEED + "answers.py", "a range is proven up to the answer, not up to the query",
        "until_ms = asked.earliest_ms if part.open_ended else min(part.range.until_ms, asked.earliest_ms)",
        "until_ms = self._sender.bounds().latest_ms if part.open_ended else part.range.until_ms",
    ),
    Mutant(
        FEED + "answers.py", "time that may have left the log is proven",
        "since_ms = max(part.range.since_ms, edge_ms, self._recorder.progress.begin_ms or 0)",
        "since_ms = max(part.range.since_ms, self._recorder.progress.begin_ms or 0)",
    ),
    Mutant(
        FEED + "answers.py", "an answer that proves nothing takes its range off what is unread",
        "await self._record(job, page, asked, None)\n        if not is_full",
        "await self._record(job, page, asked, part.range)\n        if not is_full",
    ),
    Mutant(
        FEED + "answers.py", "an oversized millisecond is always whole",
        "too_dense=not seen.whole", "too_dense=False",
    ),
    # What to ask next
    Mutant(
        PLANNING + "planner.py", "nothing that leaves the log soon is asked for",
        "_leaving(situation, prospects, unread)\n            or self._failures", "self._failures",
    ),
    Mutant(
        PLANNING + "planner.py", "the backlog has no turn",
        "return ReadRange(Why.BACKLOG, newest) if newest else None", "return None",
    ),
    Mutant(
        FEED + "learnt.py", "a list of ids may be twice as long",
        "+ len(ids) - 1 <= self.list_length", "+ len(ids) - 1 <= 2 * self.list_length",
    ),
    # What a page means
    Mutant(
        COUNTING + "count.py", "a message that settles stays in the gauge",
        "            self._changes.in_flight[in_flight_series(before)] -= 1\n"
        "            del self._known.in_flight[record.message_id, record.sent_ms]\n",
        "            del self._known.in_flight[record.message_id, record.sent_ms]\n",
    ),
    Mutant(
        COUNTING + "count.py", "a price that is there later is not added",
        "if flags & WITHOUT_PRICE and not now & WITHOUT_PRICE:", "if False:",
    ),
    Mutant(
        COUNTING + "tally.py", "cost leaves out all messages of a kind but one",
        "EXACT.multiply(cost, messages)", "EXACT.multiply(cost, 1)",
    ),
    Mutant(
        COUNTING + "known.py", "the sent time does not tell messages with one id apart",
        "return sent_ms.astype(np.uint64) * _SCATTER", "return sent_ms.astype(np.uint64) * np.uint64(0)",
    ),
    Mutant(
        COUNTING + "audit.py", "the audit takes missed messages for verified ones",
        "missed = max(0, messages - cell.messages)", "missed = 0",
    ),
    Mutant(
        COUNTING + "audit.py", "what is left of a final cell that was read in part keeps the number of all of it",
        "messages=cell.messages - messages,", "messages=cell.messages,",
    ),
    Mutant(
        COUNTING + "rows.py", "a row that is in a page twice counts twice",
        "if (self._ordered_keys[1:] == self._ordered_keys[:-1]).any():", "if False:",
    ),
    Mutant(
        COUNTING + "count.py", "a message whose sent time has moved counts twice",
        "elsewhere[place] = self._is_known_elsewhere(int(new[place]))", "elsewhere[place] = False",
    ),
    Mutant(
        COUNTING + "count.py", "a message that has perhaps moved is not read again",
        "                    self._counted.postponed.append(both)\n", "                    pass\n",
    ),
    Mutant(
        COUNTING + "count.py", "a message that moved is kept at its old sent time as well",
        'settled["key"][place], settled["sent_ms"][place] = self._rows.keys[number], record.sent_ms',
        'self._added.append(np.array([(self._rows.keys[number], record.sent_ms, settled["flags"][place])], SETTLED))',
    ),
    Mutant(
        COUNTING + "count.py", "what has settled is not remembered",
        "        self._added.append(added)\n", "",
    ),
    Mutant(
        COUNTING + "count.py", "a message that settles stays known as in flight",
        "            del self._known.in_flight[record.message_id, record.sent_ms]\n", "",
    ),
    Mutant(
        COUNTING + "count.py", "a message in flight that takes another status is in the gauge twice",
        "            self._changes.in_flight[in_flight_series(before)] -= 1\n            self._into_flight(tally, 1)\n",
        "            self._into_flight(tally, 1)\n",
    ),
    Mutant(
        COUNTING + "count.py", "a price that goes and comes back is added again",
        "now &= STATUS_MASK", "now |= WITHOUT_PRICE",
    ),
    Mutant(
        COUNTING + "tally.py", "parts are not multiplied",
        "settled * self.kind.parts", "settled",
    ),
    Mutant(
        COUNTING + "durations.py", "durations include those that the log can't hold",
        "np.asarray((durations_ms >= 0) & (durations_ms <= LONGEST_MS))", "durations_ms == durations_ms",
    ),
    Mutant(
        COUNTING + "tally.py", "messages in flight settle under the labels that are chosen by then",
        "    if sent_labels is None:\n", "    if True:\n",
    ),
    Mutant(
        COUNTING + "tally.py", "durations leave out the labels of their own",
        "for name in labels_of(catalog.DELIVERY_DURATION, choice)}", "for name in catalog.DELIVERY_DURATION.labels}",
    ),
    Mutant(
        INFOBIP + "on_request.py", "a row's labels are those of another row",
        "type=self._rows).results", "type=self._rows).results[::-1]",
    ),
    Mutant(
        "infobip_exporter/metrics/catalog.py", "labels known when a message settles are left out",
        '"settled": choice.labels', '"settled": choice.sent',
    ),
    Mutant(
        COUNTING + "caps.py", "a label shows one value more than it may",
        "if len(taken) >= self._most:", "if len(taken) > self._most:",
    ),
    Mutant(
        COUNTING + "cut.py", "a cell that was proven in part counts as read as a whole",
        "    if not proven.covers(cell.range):\n        return cell\n", "",
    ),
    Mutant(
        COUNTING + "cut.py", "cells that become one keep the end of the first",
        "before._replace(until_ms=cell.until_ms, reads=", "before._replace(reads=",
    ),
    Mutant(
        COUNTING + "audit.py", "messages that settle after their cell is final are not in its numbers",
        "    if not len(settled):\n        return cell\n", "    return cell\n",
    ),
    Mutant(
        COUNTING + "audit.py", "a cell's numbers leave out its last message",
        "        messages=messages,\n        ids=ids,\n        outcomes=_sum_settled",
        "        messages=max(0, messages - 1),\n        ids=ids,\n        outcomes=_sum_settled",
    ),
    Mutant(
        INFOBIP + "kinds.py", "cost leaves out the parts",
        "return _EXACT.multiply(price, Decimal(parts))", "return price",
    ),
    # Recording
    Mutant(
        FEED + "recorder.py", "time that was read stays unread",
        "self.move(unread=self.progress.unread.remove(reading.proven))", "pass",
    ),
    Mutant(
        FEED + "expiry.py", "time that left the log unread is not reported",
        'lose(changes, lost.total_ms, "expired")', "pass",
    ),
    Mutant(
        FEED + "expiry.py", "messages in flight that leave the log are forgotten",
        "    changes.add(unresolved_series(message), 1)\n", "",
    ),
    Mutant(
        FEED + "writer.py", "the watermark leaves what was not read behind",
        "self.move(unread=TimeRanges([*progress.unread, *new]), watermark_ms=watermark_ms)",
        "self.move(watermark_ms=watermark_ms)",
    ),
    Mutant(
        FEED + "writer.py", "no requests are reserved",
        "times=kept.times + reserved", "times=kept.times",
    ),
    Mutant(
        FEED + "recorder.py", "one read takes all time off what is unread",
        "self.move(unread=self.progress.unread.remove(reading.proven))",
        "self.move(unread=TimeRanges())",
    ),
    Mutant(
        COUNTING + "cells_after.py", "cells become final at once",
        "self._asked_ms - self._reading.final_age_ms if", "self._asked_ms if",
    ),
    Mutant(
        COUNTING + "cells_after.py", "cells become final at half the final age",
        "self._asked_ms - self._reading.final_age_ms if", "self._asked_ms - self._reading.final_age_ms // 2 if",
    ),
    Mutant(
        COUNTING + "cells_after.py", "cells become final while the API's time is uncertain",
        "if self._reading.asked.certain else 0", "if True else 0",
    ),
    Mutant(
        FEED + "recorder.py", "records of final cells are new once more",
        "(sent_ms >= begin_ms) & ~final", "sent_ms >= begin_ms",
    ),
    Mutant(
        COUNTING + "cells_after.py", "settled messages of a final cell are kept",
        "inside.settled[~in_log] if cell.final else inside.settled", "inside.settled",
    ),
    Mutant(
        COUNTING + "cells_after.py", "settled messages that the log lacks are forgotten once their cell is final",
        "inside.settled[~in_log] if cell.final", "inside.settled[:0] if cell.final",
    ),
    Mutant(
        FEED + "writer.py", "messages in flight are not known any more once their cell is final",
        "moments = [cell.since_ms for cell in cells]",
        "moments = [cell.since_ms for cell in cells if not cell.final]",
    ),
    Mutant(
        FEED + "recorder.py", "a page is committed in two parts, the progress first",
        "        self._observe_freshness(changes, reading, counted)\n",
        "        self._observe_freshness(changes, reading, counted)\n        await self.commit()\n",
    ),
    Mutant(
        FEED + "recorder.py", "a row that can't be counted counts each time it is read",
        "            if fingerprint in known:\n                continue\n", "",
    ),
    Mutant(
        FEED + "recorder.py", "a millisecond that can't be read whole is not told as lost",
        'lose(changes, dense.length_ms, "too_dense")', "pass",
    ),
    Mutant(
        FEED + "expiry.py", "unread time that left the log stays unread",
        "        writer.move(unread=writer.progress.unread.above(gone_ms))\n", "",
    ),
    Mutant(
        FEED + "expiry.py", "time counts as gone ten minutes before it leaves the log",
        "gone_ms = now.earliest_ms - LOG_KEEPS_MS\n", "gone_ms = now.earliest_ms - LOG_KEEPS_MS + 600_000\n",
    ),
    Mutant(
        FEED + "expiry.py", "time leaves the log while the API's time is uncertain",
        "if not now.certain or progress.begin_ms is None or progress", "if progress.begin_ms is None or progress",
    ),
    Mutant(
        FEED + "expiry.py", "cells that were read too early to be whole are not told as lost",
        '    lose(changes, young.total_ms, "expired")\n', "",
    ),
    Mutant(
        FEED + "expiry.py", "messages in flight that leave the log stay in the gauge",
        "    changes.in_flight[in_flight_series(message)] -= 1\n", "",
    ),
    Mutant(
        FEED + "expiry.py", "time that comes once more is not read again",
        "            unread = unread.add(cell.range)\n", "",
    ),
    Mutant(
        FEED + "expiry.py", "time that left the log before anything was asked is in no account",
        "    writer.advance(gone_ms)  # where", "    # where",
    ),
    Mutant(
        FEED + "writer.py", "rejected rows are forgotten by a time that may be wrong",
        "        if now.certain:\n            self.later.prune_before_ms", "        if True:\n            self.later.prune_before_ms",
    ),
    Mutant(
        FEED + "jobs.py", "of a range that failed the newest part alone is asked for",
        "return self.of_range(request)[::-1]", "return self.of_range(request)[-1:]",
    ),
    # Where it is kept
    Mutant(
        LEDGER + "ledger.py", "counters are overwritten by what is added",
        "series: added(self.counters.get(series, 0), by) for series", "series: by for series",
    ),
    Mutant(
        LEDGER + "ledger.py", "the gauge is overwritten by what is added",
        "{series: self.in_flight.get(series, 0) + by for series", "{series: by for series",
    ),
    Mutant(
        LEDGER + "sqlite.py", "a failed transaction is committed half done",
        "            except BaseException:\n                self._roll_back()\n                raise\n",
        '            except BaseException:\n                cursor.execute("COMMIT")\n                raise\n',
    ),
    Mutant(
        LEDGER + "sqlite.py", "cells that end stay",
        "gone = [(feed_id, since_ms) for since_ms in writes.gone]", "gone: list[tuple[int, int]] = []",
    ),
    Mutant(
        LEDGER + "changes.py", "counts that wait for a commit are dropped",
        "        for series, amount in other.counters.items():\n            self.add(series, amount)\n", "",
    ),
    # The budget and the clock
    Mutant(INFOBIP + "rate_limit.py", "a minute of 50 s", "WINDOW_S = 60.05", "WINDOW_S = 50.0"),
    Mutant(
        INFOBIP + "clock.py", "answers that contradict each other are certain",
        "latest_ms, certain=not self._doubted)", "latest_ms, certain=True)",
    ),
    Mutant(
        INFOBIP + "rate_limit.py", "one request more than the limit in a minute",
        "allowed = int(self._effective)", "allowed = int(self._effective) + 1",
    ),
    Mutant(
        INFOBIP + "rate_limit.py", "requests of before a restart are forgotten",
        "return [monotonic_s] * len(kept.times)", "return []",
    ),
    Mutant(
        INFOBIP + "clock.py", "any date is believed",
        "if self._believable(told, wall_s):", "if True:",
    ),
    # Several replicas
    Mutant(
        LEDGER + "postgres_commit.py", "a commit does not check the epoch",
        "WHERE id = %(feed)s AND epoch = %(epoch)s AND commits", "WHERE id = %(feed)s AND commits", REPLICAS,
    ),
    Mutant(
        LEDGER + "postgres_commit.py", "a commit that was held up takes effect after later ones",
        " AND commits <= %(number)s", "", REPLICAS,
    ),
    Mutant(
        LEDGER + "leases.py", "leases end by the local clock",
        'self._run("DELETE FROM replica WHERE expires_at < now()")',
        'self._run("DELETE FROM replica WHERE expires_at < to_timestamp(%(at)s)", {"at": self._lease.asking().wall_s})',
        REPLICAS,
    ),
    Mutant(
        LEDGER + "leases.py", "a replica shows its feeds after its lease has run out",
        "return self.lease_s - passed_s", "return self.lease_s", REPLICAS,
    ),
)  # fmt: skip
