"""The deliberate faults that `simulation.mutants` puts into the core."""

from typing import NamedTuple

READING, FEED, COUNTING = "infobip_exporter/reading/", "infobip_exporter/feed/", "infobip_exporter/counting/"
LEDGER, API = "infobip_exporter/ledger/", "infobip_exporter/infobip/"


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
    # Questions and what they prove
    Mutant(
        API + "question.py", "the first millisecond is not asked wider",
        "self.since_ms if self.tight_since else self.since_ms - 1", "self.since_ms",
    ),
    Mutant(
        API + "question.py", "the last millisecond is not asked wider",
        "self.until_ms - 1 if self.tight_until else self.until_ms", "self.until_ms - 1",
    ),
    Mutant(API + "question.py", "a list of ids may be twice as long", "MAX_LIST_LENGTH = 2048", "MAX_LIST_LENGTH = 4096"),
    Mutant(
        READING + "dialogue.py", "records beside the span are taken for records in it",
        "[record for record in self.page.records if since_ms <= record.sent_ms < until_ms]",
        "[record for record in self.page.records if since_ms <= record.sent_ms <= until_ms]",
    ),
    Mutant(
        READING + "dialogue.py", "a page with one row too few counts as full, a full one does not",
        "return rows >= limit or (", "return rows > limit or (",
    ),
    Mutant(
        READING + "dialogue.py", "a cap below the limit is not smelt",
        "(no_less_than_ever and rows > 0 and rows % COMMON_CAP == 0)", "False",
    ),
    Mutant(
        READING + "walk.py", "the millisecond at the inner edge of a page of newest rows counts as read",
        "proven = Span(edge.sent_ms + 1, span.until_ms)", "proven = Span(edge.sent_ms, span.until_ms)",
    ),
    Mutant(
        READING + "walk.py", "the millisecond at the inner edge of a page of newest rows is not asked again",
        "rest = Span(span.since_ms, edge.sent_ms + 1)", "rest = Span(span.since_ms, edge.sent_ms)",
    ),
    Mutant(
        READING + "walk.py", "the millisecond at the inner edge of a page of oldest rows counts as read",
        "proven = Span(span.since_ms, edge.sent_ms)", "proven = Span(span.since_ms, edge.sent_ms + 1)",
    ),
    Mutant(
        READING + "walk.py", "a full page is always taken for the newest rows",
        "    if learnt.takes is Takes.UNKNOWN:\n        too_new",
        "    learnt.takes = Takes.NEWEST\n    if learnt.takes is Takes.UNKNOWN:\n        too_new",
    ),
    Mutant(
        READING + "dense.py", "a split by status is whole whatever it shows",
        "if whole and to_show <= shown and all_shown <= shown:", "if whole:",
    ),
    Mutant(
        READING + "dense.py", "a read by cursor that breaks off counts as whole",
        "return 0 < reply.page.rows < self.limit and before <= seen", "return True",
    ),
    Mutant(
        READING + "dense.py", "a millisecond that can't be read whole is said to be",
        "crowd.rejected), whole)", "crowd.rejected), True)",
    ),
    # What to ask next
    Mutant(
        READING + "outlook.py", "there is no last look before a message leaves the log",
        "return (*LADDER_MS, LOG_KEEPS_MS - self._last_look_before_ms)", "return LADDER_MS[:-6]",
    ),
    Mutant(
        READING + "outlook.py", "time is read again before late records have turned up",
        "return self.now_ms - self.late_ms\n", "return self.now_ms - self.late_ms // 2\n",
    ),
    Mutant(
        READING + "looks.py", "looks are done that were not made",
        "waiting = _waiting(outlook, below, 1) or _waiting(outlook, above, 1)",
        "waiting = _waiting(outlook, below, 0)",
    ),
    Mutant(
        READING + "plan.py", "the backlog has no turn",
        "return ReadSpan(Why.BACKLOG, unread.spans[-1]) if unread else None", "return None",
    ),
    Mutant(
        READING + "plan.py", "what is open is never read again",
        "    task = _when_worth_it(outlook.open.below(late_before_ms), late_before_ms, outlook.enough, outlook)\n",
        "    task: Task | None = None\n",
    ),
    # The poll loop
    Mutant(
        FEED + "recorder.py", "time counts as read for good while records may turn up",
        "open_from_ms = read.asked_ms - self._late_ms if", "open_from_ms = read.asked_ms if",
    ),
    Mutant(
        FEED + "recorder.py", "late records have a tenth of the time too little",
        "open_from_ms = read.asked_ms - self._late_ms if", "open_from_ms = read.asked_ms - self._late_ms * 9 // 10 if",
    ),
    Mutant(
        FEED + "recorder.py", "settled messages of closed time are kept",
        "        changes.forget_settled.extend(closed)\n", "",
    ),
    Mutant(
        FEED + "recorder.py", "time that was read stays unread",
        "unread=progress.unread.remove(read.span),", "unread=progress.unread,",
    ),
    Mutant(
        FEED + "recorder.py", "what was read is committed in two parts, the progress first",
        "        self._commit_found(changes, counting)\n\n    def looked",
        "        self.commit()\n        self._commit_found(changes, counting)\n\n    def looked",
    ),
    Mutant(
        FEED + "recorder.py", "unread time that left the log is not told as lost",
        '            self._lose(changes, lost.total_ms, "expired")\n', "",
    ),
    Mutant(
        FEED + "recorder.py", "a crowded millisecond is not told as lost",
        '            self._lose(changes, to_read.total_ms, "too_dense")\n', "",
    ),
    Mutant(
        FEED + "recorder.py", "a bad row is counted each time it is read",
        "if row.fingerprint not in known and row.fingerprint not in changes.rejected:", "if True:",
    ),
    Mutant(
        FEED + "recorder.py", "records of time read for good are counted as new",
        "(first if record.sent_ms in to_read else again).append(record)", "first.append(record)",
    ),
    Mutant(
        FEED + "feed.py", "the frontier leaves a millisecond out",
        "new = Span(progress.frontier_ms, now_ms)", "new = Span(progress.frontier_ms + 1, now_ms)",
    ),
    Mutant(
        FEED + "feed.py", "the edge of the log is put ten minutes too late",
        "return self._asker.clock.latest_ms(self._time.monotonic()) - LOG_KEEPS_MS",
        "return self._asker.clock.latest_ms(self._time.monotonic()) - LOG_KEEPS_MS + 600_000",
    ),
    Mutant(
        FEED + "feed.py", "the edge of the log is put ten minutes too early",
        "return self._asker.clock.latest_ms(self._time.monotonic()) - LOG_KEEPS_MS",
        "return self._asker.clock.latest_ms(self._time.monotonic()) - LOG_KEEPS_MS - 600_000",
    ),
    Mutant(
        FEED + "feed.py", "messages count as unresolved an hour before they leave",
        "self._recorder.expire(self._edge_ms(), now_ms - LOG_KEEPS_MS)",
        "self._recorder.expire(self._edge_ms(), now_ms - LOG_KEEPS_MS + 3_600_000)",
    ),
    Mutant(
        FEED + "asker.py", "what a request takes of the budget is not kept over a restart",
        "        self._recorder.reserve()\n", "",
    ),
    Mutant(
        FEED + "asker.py", "a page is dated by when it came",
        "return Reply(answer.page, asked_ms)",
        "return Reply(answer.page, self.clock.latest_ms(self._time.monotonic()))",
    ),
    Mutant(
        API + "budget.py", "one request more than the limit in a minute",
        "allowed = int(self._effective)", "allowed = int(self._effective) + 1",
    ),
    Mutant(API + "budget.py", "a minute of 50 s", "WINDOW_S = 60.05", "WINDOW_S = 50.0"),
    Mutant(
        FEED + "asker.py",
        "the API's time is the exporter's own",
        "self.clock.saw(answer.date_ms, now, answer.took_s)",
        "self.clock.saw(None, now, answer.took_s)",
    ),
    Mutant(
        API + "clock.py", "the latest date is believed, whatever it says",
        "        if self._believable(offset):", "        if True:",
    ),
    # What it means
    Mutant(
        COUNTING + "count.py", "a message that is read twice counts twice",
        "            if message_id in known:\n                self._known_again(record)\n                continue\n", "",
    ),
    Mutant(
        COUNTING + "count.py", "a row that is in a page twice counts twice",
        "            if message_id in once:\n                continue\n", "",
    ),
    Mutant(
        COUNTING + "count.py", "settled messages of open time are not known",
        "if sent_ms < open_from_ms:", "if sent_ms >= 0:",
    ),
    Mutant(
        COUNTING + "count.py", "a message that settles stays in flight",
        "            self._changes.in_flight[was_in] -= 1\n            self._changes.in_flight_by_minute",
        "            self._changes.in_flight_by_minute",
    ),
    Mutant(
        COUNTING + "count.py", "parts are not multiplied",
        "changes.add(place.parts, self.settled * self.kind.parts)", "changes.add(place.parts, self.settled)",
    ),
    Mutant(API + "kinds.py", "cost leaves out the parts", "return _EXACT.multiply(price, Decimal(parts))", "return price"),
    Mutant(
        COUNTING + "count.py", "delivery took as long as from the epoch to being done",
        "tally.durations_ms.append(record.done_ms - before.sent_ms)", "tally.durations_ms.append(record.done_ms)",
    ),
    Mutant(
        COUNTING + "labels.py", "one value more than the cap has a place",
        "if len(taken) >= self._most or", "if len(taken) > self._most or",
    ),
    # Where it is kept
    Mutant(
        LEDGER + "ledger.py", "counters are overwritten by what is added",
        "counters = {series: add(self.counters.get(series, 0), by) for series, by in changes.counters.items()}",
        "counters = dict(changes.counters)",
    ),
    Mutant(
        LEDGER + "store.py", "a failed transaction is committed half done",
        "            except BaseException:\n                self._roll_back()\n                raise\n",
        '            except BaseException:\n                self.connection.execute("COMMIT")\n                raise\n',
    ),
    Mutant(
        LEDGER + "changes.py", "waiting counts are dropped where others are at hand",
        "        for series, amount in other.counters.items():\n            self.add(series, amount)\n", "",
    ),
)  # fmt: skip
