"""How a feed polls: what it asks, when, how often, and what it does when that goes wrong."""

import random
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infobip_exporter.config.schema import Poll
from infobip_exporter.errors import LedgerError, RequestFailed
from infobip_exporter.feed import feed as feed_module
from infobip_exporter.feed.asker import LOOK_FOR_KEY_EVERY_S
from infobip_exporter.infobip.query import Query
from infobip_exporter.ledger.changes import Changes
from infobip_exporter.reading.spans import Span
from infobip_exporter.reading.task import LookUp
from infobip_exporter.sandbox.message import plain_message
from infobip_exporter.sandbox.quirks import Quirks
from simulation.time import ClockStep, VirtualTime
from tests.feed.worlds import BEGINS_MS, HOUR_S, FeedWorld

SENT = "infobip_messages_sent_total"
SETTLED = "infobip_messages_total"
LOST = "infobip_exporter_lost_seconds_total"
REQUESTS = "infobip_exporter_api_requests_total"
HOUR_MS = HOUR_S * 1000


def at(seconds: float, name: str = "m", **fields: object) -> object:
    return plain_message(f"{name}-{seconds}", BEGINS_MS + round(seconds * 1000), **fields)  # type: ignore[arg-type]


def test_messages_sent_before_the_first_start_are_not_counted() -> None:
    world = FeedWorld([at(-1), at(-HOUR_S), at(5)])
    world.live(300)
    assert world.total(SENT) == 1


def test_lookback_counts_messages_sent_before_the_first_start() -> None:
    world = FeedWorld([at(-2 * HOUR_S), at(-HOUR_S + 5), at(5)], Poll(lookback_s=HOUR_S))
    world.live(300)
    assert world.total(SENT) == 2


def test_lookback_is_for_the_first_start_only() -> None:
    world = FeedWorld([at(-HOUR_S + 5)], Poll(lookback_s=HOUR_S))
    world.live(60)
    world.poll = Poll(lookback_s=48 * HOUR_S)
    world.start()
    world.live(300)
    assert world.total(SENT) == 1


def test_a_lookback_of_48_hours_loses_nothing() -> None:
    world = FeedWorld([at(-47 * HOUR_S, f"m{n}") for n in range(5)], Poll(lookback_s=48 * HOUR_S))
    world.live(600)
    assert world.total(SENT) == 5
    assert world.total(LOST) == 0


def test_a_quiet_account_costs_one_request_a_poll() -> None:
    world = FeedWorld([at(100 * n) for n in range(20)])
    world.live(30)
    began_s = world.time.now_s
    world.live(3000)
    assert len(world.asked_since(began_s)) == 100


def test_a_record_that_turns_up_late_is_counted_once() -> None:
    world = FeedWorld([at(40, late_ms=119_000), at(41)])
    world.live(600)
    assert world.total(SENT) == 2


def test_a_message_counts_as_settled_once_its_status_is_final() -> None:
    world = FeedWorld([at(10, settles_after_ms=6 * HOUR_MS)])
    world.live(5 * HOUR_S)
    assert (world.total(SENT), world.total(SETTLED)) == (1, 0)
    world.live(4 * HOUR_S)
    assert (world.total(SENT), world.total(SETTLED)) == (1, 1)
    assert sum(world.ledger.in_flight.values()) == 0


def test_a_message_that_leaves_the_log_in_flight_is_unresolved() -> None:
    world = FeedWorld([at(10, group="PENDING")], Poll(interval_s=300))
    world.live(47.9 * HOUR_S)
    assert world.total("infobip_messages_unresolved_total") == 0
    world.live(HOUR_S)
    assert world.counter("infobip_messages_unresolved_total", "PENDING", "", "") == 1
    assert not world.ledger.in_flight


def test_what_leaves_the_log_unread_is_told_as_lost() -> None:
    world = FeedWorld([at(60), at(12 * HOUR_S)])
    world.live(30)
    world.time.advance(50 * HOUR_S)
    world.start()
    world.live(600)
    # Read up to the first poll's frontier, which stays open for two minutes; gone is what is older than 48 h.
    assert float(world.total(LOST)) == pytest.approx(2 * HOUR_S, abs=180)
    assert world.total(SENT) == 1


def test_an_outage_within_48_hours_loses_nothing() -> None:
    world = FeedWorld([at(60), at(12 * HOUR_S), at(30 * HOUR_S)])
    world.live(30)
    world.time.advance(40 * HOUR_S)
    world.start()
    world.live(600)
    assert (world.total(SENT), world.total(LOST)) == (3, 0)


def test_after_an_outage_the_newest_messages_are_counted_first() -> None:
    world = FeedWorld([at(600 + n / 10, f"m{n}") for n in range(30_000)])
    world.live(30)
    world.time.advance(4 * HOUR_S)
    world.start()
    world.live(1)
    first = next(question for question in world.asked_since(4 * HOUR_S) if question.since_ms is not None)
    restarted_ms = BEGINS_MS + (30 + 4 * HOUR_S) * 1000
    assert first.until_ms == pytest.approx(restarted_ms, abs=3000)


def test_an_api_clock_ten_minutes_off_is_the_one_that_counts() -> None:
    for skew_s in (-600.0, 600.0):
        time = VirtualTime(BEGINS_MS, float("inf"), (ClockStep(0.0, skew_s),))
        world = FeedWorld([at(-1), at(5), at(100)], time=time)
        world.live(600)
        assert world.total(SENT) == 2
        assert world.feed.snapshot.clock_skew_s == pytest.approx(-skew_s, abs=2)


WRONG_DATES_S = (600, 3600, 49 * HOUR_S, -3600)


@pytest.mark.parametrize("wrong_by_s", WRONG_DATES_S)
@pytest.mark.parametrize("when", ["first start", "restart", "running"])
def test_one_answer_with_a_wrong_date_changes_no_count(wrong_by_s: int, when: str) -> None:
    messages = [at(60 * n, settles_after_ms=3 * HOUR_MS if n % 2 else 1000) for n in range(1, 240)]
    world = FeedWorld(messages, Poll(interval_s=120))
    if when != "first start":
        world.live(HOUR_S)
    if when == "restart":
        world.start()
    world.wrong_date_s = wrong_by_s
    world.live(9 * HOUR_S)
    assert (world.total(SENT), world.total(SETTLED), world.total(LOST)) == (239, 239, 0)
    assert world.total("infobip_messages_unresolved_total") == 0


def test_a_wrong_date_in_the_past_does_not_keep_a_quiet_feed_from_asking() -> None:
    world = FeedWorld([at(100 * n) for n in range(1, 40)], Poll(late_arrival_s=0.0))
    world.live(600)
    world.wrong_date_s = -5 * HOUR_S
    world.live(30)
    began_s = world.time.now_s
    world.live(600)
    assert world.total(SENT) == 11
    assert len(world.asked_since(began_s)) == 20 + 1


def test_a_bad_row_counts_once_though_a_date_was_wrong_when_it_was_first_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "PAGE_LIMIT", 10)
    slow, bad = at(-160, settles_after_ms=20 * HOUR_MS), at(-150, "bad", defect="no_status")
    others = [at(-200 - 50 * n) for n in range(30)]
    keeps_oldest = Quirks(keeps="oldest", order="oldest_first")
    world = FeedWorld([slow, bad, *others], Poll(lookback_s=1800.0), quirks=keeps_oldest)

    def fails(_question: Query) -> None:
        if 2 <= len(world.questions) <= 5:
            world.wrong_date_s = -47 * HOUR_S - 60 * len(world.questions)

    world.fails = fails
    world.live(9 * HOUR_S)
    assert world.total("infobip_exporter_records_rejected_total") == 1


def test_a_wrong_date_among_rare_polls_under_a_clock_that_is_off_changes_no_count() -> None:
    time = VirtualTime(BEGINS_MS, float("inf"), (ClockStep(0.0, 600.0),))
    world = FeedWorld([at(60 * n) for n in range(1, 240)], Poll(interval_s=600), time=time)
    world.live(HOUR_S)
    world.wrong_date_s = 5 * HOUR_S
    world.live(9 * HOUR_S)
    assert (world.total(SENT), world.total(SETTLED), world.total(LOST)) == (239, 239, 0)


def test_a_long_read_that_ends_late_does_not_undo_the_looks_made_meanwhile() -> None:
    recorder = FeedWorld().feed._recorder
    recorder.done_looks({60_000: 500, 120_000: 300})
    recorder.done_looks({60_000: 400, 120_000: 350, 180_000: 100})
    assert recorder.progress.looked_ms == {60_000: 500, 120_000: 350, 180_000: 100}


@pytest.mark.parametrize("undated", [5, 10])
def test_after_a_restart_our_own_clock_stands_in_for_the_api_only_when_dates_stay_away(undated: int) -> None:
    time = VirtualTime(BEGINS_MS, float("inf"), (ClockStep(0.0, 0.0), ClockStep(600.0, 300.0)))
    world = FeedWorld([at(10 * n) for n in range(1, 240)], Poll(late_arrival_s=10.0), time=time)
    world.live(601)
    world.undated = undated
    world.start()
    world.live(HOUR_S)
    assert (world.total(SENT), world.total(LOST)) == (239, 0)


def test_a_feed_whose_api_no_longer_tells_the_time_goes_on_by_our_own_clock() -> None:
    world = FeedWorld([at(10 * n) for n in range(1, 240)])
    world.live(600)
    world.undated = 1_000_000
    world.start()
    world.live(HOUR_S)
    assert world.total(SENT) == 239


@pytest.mark.parametrize("wrong_by_s", [2 * HOUR_S, -2 * HOUR_S])
def test_one_date_of_an_api_that_tells_no_time_does_not_stop_the_feed(wrong_by_s: int) -> None:
    world = FeedWorld([at(10 * n) for n in range(1, 240)])
    world.undated = 20
    world.live(300)
    while world.undated:
        world.feed.poll()
    world.wrong_date_s = wrong_by_s
    world.live(30)
    world.undated = 1000
    world.live(HOUR_S)
    assert world.feed.snapshot.up
    assert world.total(SENT) == 239


def test_the_last_look_comes_in_time_where_servers_whose_clocks_differ_take_turns() -> None:
    messages = [at(600 + 60 * n, settles_after_ms=46 * HOUR_MS) for n in range(60)]
    world = FeedWorld(messages, Poll(interval_s=60.0))

    def fails(_question: Query) -> None:
        world.wrong_date_s = -(len(world.questions) // 4 % 2) * 600

    world.fails = fails
    world.live(51 * HOUR_S)
    assert (world.total(SENT), world.total(SETTLED)) == (60, 60)


@pytest.mark.parametrize(("ahead_s", "late_s"), [(10, 0.0), (30, 10.0), (600, 120.0)])
def test_of_servers_whose_clocks_differ_each_answers_some_and_no_message_is_missed(
    ahead_s: int, late_s: float
) -> None:
    world = FeedWorld([at(100 + 10 * n) for n in range(240)], Poll(late_arrival_s=late_s))
    rng = random.Random(1)

    def fails(_question: Query) -> None:
        world.wrong_date_s = ahead_s * rng.randrange(2)

    world.fails = fails
    world.live(HOUR_S)
    assert world.total(SENT) == 240


def test_a_record_that_the_api_can_not_show_does_not_stop_the_feed() -> None:
    world = FeedWorld([at(30 * n, settles_after_ms=20_000) for n in range(1, 1440)])
    poison_ms = BEGINS_MS + 1_005_000

    def fails(question: Query) -> None:
        inside = (question.since_ms or 0) <= poison_ms < (question.until_ms or 0)
        if inside and world.time.api_ms > poison_ms + 60_000:
            raise RequestFailed("500", "down", took_s=0.05)

    world.fails = fails
    world.live(13 * HOUR_S)
    assert world.total(SENT) == 1439
    assert world.ledger.progress.open.total_ms < 1.1 * HOUR_MS


def test_what_waits_longest_has_its_turn_where_a_poll_has_time_for_one_request() -> None:
    world = FeedWorld([at(7 * n, settles_after_ms=1000) for n in range(1, 12_000)], budget=1)
    world.live(600)
    world.time.advance(20 * HOUR_S)
    world.start()
    world.live(2 * HOUR_S)
    assert world.ledger.progress.unread.total_ms < HOUR_MS
    assert world.total(LOST) == 0


@pytest.mark.parametrize("interval_s", [30.0, 300.0, 600.0])
def test_the_last_look_comes_before_a_message_leaves_however_rare_polls_are(interval_s: float) -> None:
    sparse = [at(13 * n, settles_after_ms=47 * HOUR_MS) for n in range(1, 50)]
    world = FeedWorld(sparse, Poll(interval_s=interval_s))
    world.live(50 * HOUR_S)
    assert world.total(SETTLED) == 49
    assert world.total("infobip_messages_unresolved_total") == 0


def test_a_look_by_id_asks_again_for_what_a_capped_answer_leaves_out() -> None:
    in_flight = [at(600 + n / 10, settles_after_ms=45 * HOUR_MS) for n in range(120)]
    settled = [at(600 + n / 500, "settled") for n in range(6000)]
    world = FeedWorld([*in_flight, *settled], Poll(interval_s=300.0), quirks=Quirks(most_rows=50))
    world.live(50 * HOUR_S)
    assert any(question.message_ids for _, question in world.questions)
    assert (world.total(SENT), world.total(SETTLED)) == (6120, 6120)


def test_an_api_that_takes_no_list_of_ids_is_asked_for_spans() -> None:
    world = FeedWorld([at(n / 10, f"m{n}", settles_after_ms=2 * HOUR_MS) for n in range(1, 6000)])
    real = world.log.answer

    def no_lists(parameters: dict[str, str], now_ms: int) -> object:
        if "," in parameters.get("messageId", ""):
            parameters = {**parameters, "messageId": "none"}
        return real(parameters, now_ms)

    world.log = SimpleNamespace(answer=no_lists)  # type: ignore[assignment]
    world.live(6 * HOUR_S)
    assert world.total(SETTLED) == 5999


def test_messages_missing_from_an_answer_that_does_not_heed_their_ids_have_not_been_looked_at() -> None:
    world = FeedWorld([at(10 * n, settles_after_ms=2 * HOUR_MS) for n in range(1, 30)])
    world.live(400)
    feed, real = world.feed, world.log.answer

    def heedless(parameters: dict[str, str], now_ms: int) -> object:
        return real({name: value for name, value in parameters.items() if name != "messageId"}, now_ms)

    world.log = SimpleNamespace(answer=heedless)  # type: ignore[assignment]
    messages = dict(world.ledger.in_flight_between(Span(0, 1 << 62), 2))
    for _ in range(3):
        assert feed._learnt.by_id
        feed._look_up(LookUp(messages, {0: 1}))
    assert 0 not in feed._recorder.progress.looked_ms
    assert not feed._learnt.by_id


def failing(code: str, until_s: float, world: FeedWorld) -> None:
    def fail(_question: Query) -> None:
        if world.time.now_s < until_s:
            raise RequestFailed(code, "down", took_s=1.0)

    world.fails = fail


@pytest.mark.parametrize("code", ["500", "timeout", "connection", "429", "invalid_body", "401", "403", "404"])
def test_a_failing_api_is_asked_again_and_nothing_is_lost(code: str) -> None:
    world = FeedWorld([at(10 * n) for n in range(1, 100)])
    world.live(30)
    failing(code, 1500, world)
    world.live(1600)
    assert world.feed.snapshot.trouble is not None or world.time.now_s > 1500
    world.live(1200)
    assert world.total(SENT) == 99
    assert world.counter(REQUESTS, code) > 0
    assert world.feed.snapshot.trouble is None


def test_up_tells_how_the_last_poll_went() -> None:
    world = FeedWorld()
    assert world.feed.snapshot.up is None
    world.live(30)
    assert world.feed.snapshot.up is True
    failing("500", 1e9, world)
    world.live(60)
    assert world.feed.snapshot.up is False
    assert world.feed.snapshot.trouble is not None
    assert world.feed.snapshot.trouble.text == "500: down"


def test_a_feed_is_down_from_the_first_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FeedWorld()
    world.live(30)
    failing("401", 1e9, world)
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(world.feed.snapshot.up)
        world.time.advance(seconds)

    monkeypatch.setattr(type(world.time), "sleep", lambda _self, seconds: sleep(seconds))
    world.feed.poll()
    assert set(seen) == {False}


def test_a_trouble_is_told_when_it_begins_and_when_it_ends_and_not_at_every_retry() -> None:
    world = FeedWorld()
    world.live(30)
    failing("500", 1000, world)
    world.live(2000)
    told = [
        (call.method_name, call.kwargs["event"]) for call in world.lines if "trouble" in call.kwargs["event"]
    ]
    assert told == [("error", "api trouble, trying again"), ("info", "api trouble is over")]


def test_the_newest_trouble_that_is_over_is_remembered() -> None:
    world = FeedWorld()
    world.live(30)
    assert world.feed.snapshot.last_trouble is None
    began_s = world.time.wall()
    failing("500", 1000, world)
    world.live(2000)
    past = world.feed.snapshot.last_trouble
    assert past is not None
    assert past.text == "500: down"
    assert began_s <= past.since_s < past.ended_s <= world.time.wall()
    assert world.feed.snapshot.trouble is None


def test_every_poll_says_in_a_line_what_it_found_cost_and_left() -> None:
    world = FeedWorld([at(35)])
    world.live(90)
    polls = [call.kwargs for call in world.lines if call.kwargs["event"] == "poll"]
    assert [poll["new"] for poll in polls] == [0, 0, 1]
    assert all({"settled", "in_flight", "requests", "backlog_s"} <= set(poll) for poll in polls)


def test_a_refused_key_is_tried_again_slowly() -> None:
    world = FeedWorld()
    failing("401", 1e9, world)
    world.live(3600)
    assert 10 < len(world.questions) < 130
    assert world.feed.snapshot.trouble is not None
    assert world.feed.snapshot.trouble.refused


def test_a_refused_key_is_tried_again_soon_once_there_is_a_new_one() -> None:
    world = FeedWorld()
    failing("401", 420, world)
    world.new_key_at_s = 420
    world.live(500)
    assert [at_s for at_s, _ in world.questions if 400 <= at_s < 426] == [
        pytest.approx(420, abs=LOOK_FOR_KEY_EVERY_S)
    ]
    assert world.feed.snapshot.trouble is None


def test_a_span_too_wide_for_the_api_is_read_in_narrower_ones() -> None:
    world = FeedWorld([at(600 * n) for n in range(1, 60)])
    world.live(30)
    world.time.advance(10 * HOUR_S)

    def too_wide(question: Query) -> None:
        if (question.until_ms or 0) - (question.since_ms or 0) > HOUR_MS:
            raise RequestFailed("timeout", "too much", took_s=10.0)

    world.fails = too_wide
    world.live(4 * HOUR_S)
    assert world.total(SENT) == 59


def test_no_request_is_made_without_a_key_and_none_is_counted() -> None:
    world = FeedWorld()
    failing("", 1e9, world)
    world.live(600)
    assert world.total(REQUESTS) == 0


def test_restarts_do_not_stretch_the_budget() -> None:
    world = FeedWorld([at(-n / 20, f"m{n}") for n in range(40_000)], Poll(lookback_s=HOUR_S), budget=10)
    while world.time.now_s < 300:
        until_s = world.time.now_s + 4
        try:
            world.time.ends_s = until_s
            world.feed.run()
        finally:
            world.time.now_s = max(world.time.now_s, until_s)
        world.start()
    times = [at_s for at_s, _ in world.questions]
    assert len(times) > 30
    assert all(later - earlier > 60 for earlier, later in zip(times, times[10:], strict=False))


def test_a_ledger_that_can_not_be_written_stops_the_asking_and_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = FeedWorld([at(n, f"m{n}") for n in range(1, 200)])
    world.live(60)
    counted = world.total(SENT)
    real, began_s = world.ledger.commit, world.time.now_s
    seen = []

    def full(changes: object) -> None:
        if world.time.now_s < began_s + 600:
            seen.append(world.feed.snapshot.up)
            raise LedgerError("state x.db: database or disk is full")
        real(changes)  # type: ignore[arg-type]

    monkeypatch.setattr(world.ledger, "commit", full)
    world.feed.poll()
    assert world.time.now_s >= began_s + 600
    assert [at_s for at_s, _ in world.questions if began_s < at_s < began_s + 600] == []
    assert seen[0] is True
    assert set(seen[1:]) == {False}
    world.live(300)
    assert counted < 199
    assert world.total(SENT) == 199
    assert world.feed.snapshot.trouble is None


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("remembered", lambda _: True),
        ("known_rejected", lambda _: True),
        pytest.param("in_flight_between", lambda span: span.since_ms == 0, id="what expires"),
        pytest.param("in_flight_between", lambda span: span.since_ms > 0, id="what is to be looked at"),
    ],
)
def test_a_ledger_that_can_not_be_read_is_told_and_waited_for_and_no_count_changes(
    monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[[Any], bool]
) -> None:
    world = FeedWorld([at(n, f"m{n}") for n in range(1, 200)])
    world.live(60)
    counted = world.total(SENT)
    real, commit, began_s = getattr(world.ledger, name), world.ledger.commit, world.time.now_s
    seen = []
    afterwards = []

    def damaged(*arguments: object) -> object:
        if world.time.now_s < began_s + 600 and when(arguments[0]):
            seen.append((world.feed.snapshot.trouble, world.total(SENT)))
            raise LedgerError("state x.db: database disk image is malformed")
        return real(*arguments)

    def committed(changes: Changes) -> None:
        if world.time.now_s >= began_s + 600:
            afterwards.append(world.feed.snapshot.trouble)
        commit(changes)

    monkeypatch.setattr(world.ledger, name, damaged)
    monkeypatch.setattr(world.ledger, "commit", committed)
    world.feed.poll()
    assert world.time.now_s >= began_s + 600
    assert afterwards[0] is None
    assert {count for _, count in seen} == {counted}
    assert {trouble.text for trouble, _ in seen[1:] if trouble} == {
        "state x.db: database disk image is malformed"
    }
    assert world.feed.snapshot.trouble is None
    world.live(300)
    assert world.total(SENT) == 199


def test_a_process_killed_between_a_page_and_its_commit_counts_it_once() -> None:
    class Killed(BaseException):
        pass

    class Dying:
        def __init__(self, connection: sqlite3.Connection, survive: int) -> None:
            self._connection, self._left = connection, survive

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

        def cursor(self) -> "Dying":
            self._cursor = self._connection.cursor()
            return self

        def execute(self, statement: str, *parameters: object) -> object:
            if statement == "COMMIT":
                self._left -= 1
                if self._left < 0:
                    self._connection.rollback()
                    raise Killed
            target = getattr(self, "_cursor", self._connection)
            return target.execute(statement, *parameters)

        def executemany(self, *parameters: object) -> object:
            return self._cursor.executemany(*parameters)  # type: ignore[arg-type]

    world = FeedWorld(
        [at(-n / 10, f"m{n}") for n in range(1, 5000)], Poll(lookback_s=HOUR_S), quirks=Quirks()
    )
    for survive in range(1, 8):
        world.feed._recorder.ledger.store.connection = Dying(world.connection, survive)  # type: ignore[assignment]
        with pytest.raises(Killed):
            world.live(120)
        world.start()
    world.live(600)
    assert world.total(SENT) == 4999
