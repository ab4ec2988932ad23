"""What is asked next, rule by rule."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.model.cells import NEVER_MS, Cell, Cells
from infobip_exporter.model.channels import LOG_KEEPS_MS
from infobip_exporter.model.time_range import HOUR_MS, TimeRange, TimeRanges
from infobip_exporter.planning.planner import SWEEP_AGE, Planner
from infobip_exporter.planning.requests import AskNow, LookUp, ReadRange, ReadStatus, Request, Why
from infobip_exporter.planning.settling import SettlingTimes
from infobip_exporter.planning.situation import Situation

NOW = 1_790_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
QUICK = SettlingTimes().observed(np.random.default_rng(1).lognormal(np.log(2), 0.5, 5000))
MINUTES = SettlingTimes().observed(np.random.default_rng(1).lognormal(np.log(60), 0.5, 5000))
HOURS = SettlingTimes().observed(np.random.default_rng(1).lognormal(np.log(7200), 0.5, 5000))


def situation(*cells: Cell, per_second: float = 1.0, **changes: object) -> Situation:
    """Up to 30 s before now everything was read."""
    base = Situation(
        now_ms=NOW,
        latest_ms=NOW + SECOND,
        watermark_ms=NOW - 30 * SECOND,
        requests_per_minute=100,
        interval_s=30,
        late_arrival_s=120,
        cells=Cells(cells),
        settling=QUICK,
        rows_per_s=per_second,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def row(
    since_ms: int,
    until_ms: int,
    messages: int,
    in_flight: int = 0,
    looked_ms: int | None = None,
    **more: object,
) -> Cell:
    """A cell that was read whole when it ended, or at `looked_ms`."""
    looked = until_ms if looked_ms is None else looked_ms
    oldest = since_ms if in_flight else 0
    return Cell(since_ms, until_ms, messages, in_flight, oldest, looked, looked, 1, **more)  # type: ignore[arg-type]


def steady(per_second: float, from_age_ms: int, to_age_ms: int, length_ms: int, **more: object) -> list[Cell]:
    edges = range(NOW - from_age_ms, NOW - to_age_ms + 1, length_ms)
    messages = round(per_second * length_ms / 1000)
    return [row(since, until, messages, **more) for since, until in pairwise(edges)]  # type: ignore[arg-type]


def asked(now: Situation, quota: int = 50, planner: Planner | None = None) -> list[Request]:
    """All that a poll asks after its head, one after the other, none of them answered."""
    planner = planner or Planner(Random(1))
    planner.head(now)
    requests: list[Request] = []
    while (request := planner.next_request(now, quota - len(requests), requests)) is not None:
        requests.append(request)
    return requests


def head(now: Situation) -> list[ReadRange | AskNow]:
    return Planner(Random(1)).head(now)


class TestHead:
    def test_a_quiet_account_makes_one_request_that_reaches_back(self) -> None:
        now = situation(*steady(0.1, 630_000, 30_000, 30_000), per_second=0.1)
        [request] = head(now)
        assert request == ReadRange(Why.HEAD, TimeRange(NOW - 630_000, NOW + SECOND), open_ended=True)

    def test_the_first_poll_of_a_feed_asks(self) -> None:
        now = situation(per_second=0, watermark_ms=NOW)
        assert head(now) == [ReadRange(Why.HEAD, TimeRange(NOW - 3000, NOW + SECOND), open_ended=True)]

    def test_it_does_not_reach_back_to_cells_that_have_nothing_to_tell(self) -> None:
        done = steady(0.1, 7_230_000, 3_630_000, 30_000, final=True)
        now = situation(*done, *steady(0.1, 3_630_000, 30_000, 30_000), per_second=0.1)
        assert head(now)[0].range.since_ms == NOW - 3_630_000

    def test_it_does_not_reach_back_to_cells_that_begin_to_leave_the_log(self) -> None:
        cells = steady(0.001, LOG_KEEPS_MS - 60_000, 30_000, 60_000)
        cells = [cell._replace(in_flight=1, oldest_in_flight_ms=cell.since_ms) for cell in cells]
        [request] = head(situation(*cells, per_second=0.001))
        assert request.range.since_ms >= NOW - LOG_KEEPS_MS + 5 * MINUTE

    def test_more_than_a_page_is_cut_into_full_ones_and_a_rest(self) -> None:
        now = situation(*steady(100, 90_000, 30_000, 7500), per_second=100)
        requests = head(now)
        assert [isinstance(each, ReadRange) and each.open_ended for each in requests] == [
            False,
            False,
            False,
            True,
        ]
        *full, rest = [request.range.length_ms for request in requests]
        assert full == pytest.approx([10 * now.room] * 3, abs=2)
        assert rest == pytest.approx(34_000 - 30 * now.room, abs=2)

    def test_it_begins_with_the_last_part_of_a_page(self) -> None:
        cells = steady(100, 60_000, 40_000, 10_000) + steady(100, 33_000, 30_000, 3000)
        cells.insert(2, row(NOW - 40_000, NOW - 33_000, 700))
        assert head(situation(*cells, per_second=100))[0].range.since_ms == NOW - 33_000

    def test_it_does_not_reach_over_unread_time(self) -> None:
        now = situation(*steady(0.1, 630_000, 60_000, 30_000), per_second=0.1)
        assert head(now)[0].range.since_ms == now.watermark_ms - 3000

    def test_ranges_that_fail_are_asked_narrower(self) -> None:
        now = situation(*steady(0.1, 630_000, 30_000, 30_000), per_second=0.1, widest_ms=10_000)
        assert all(request.range.length_ms <= 10_000 for request in head(now))

    def test_after_a_long_gap_the_newest_part_comes_first(self) -> None:
        requests = head(situation(per_second=100, watermark_ms=NOW - 6 * HOUR_MS))
        assert len(requests) == 44
        assert requests[-1].range.until_ms == NOW + SECOND
        assert requests[0].range.since_ms > NOW - 10 * MINUTE

    def test_a_clock_behind_the_watermark_is_asked_all_the_same(self) -> None:
        now = situation(watermark_ms=NOW + HOUR_MS)
        assert [request.range for request in head(now)] == [TimeRange(NOW + SECOND - 3000, NOW + SECOND)]

    def test_where_one_read_fits_a_poll_asks_for_its_own_moment(self) -> None:
        assert head(situation(per_second=1200)) == [AskNow(Why.HEAD, TimeRange(NOW - 1, NOW + SECOND))]


class TestFinalAge:
    def test_an_hour_where_the_budget_allows(self) -> None:
        assert situation(per_second=100).final_age_ms == HOUR_MS

    def test_the_settling_time_where_it_does_not(self) -> None:
        now = situation(per_second=400, settling=MINUTES)
        assert now.final_age_ms == pytest.approx(60 * np.exp(2.576 * 0.5) * 1000, rel=0.15)

    def test_what_is_read_once_is_read_within_five_minutes(self) -> None:
        assert situation(per_second=700, settling=HOURS).final_age_ms == 300_000

    def test_late_arrival_is_the_least(self) -> None:
        assert situation(per_second=400).final_age_ms == 120_000

    def test_late_records_raise_it(self) -> None:
        assert situation(lateness_s=3000).final_age_ms == 6000 * SECOND

    def test_a_missed_message_doubles_it(self) -> None:
        assert situation(missed_recently=True).final_age_ms == 2 * HOUR_MS

    def test_six_hours_are_the_most(self) -> None:
        assert situation(lateness_s=5 * 3600, missed_recently=True).final_age_ms == 6 * HOUR_MS
        assert situation(per_second=400, settling=HOURS).final_age_ms == 6 * HOUR_MS


class TestLeaving:
    def test_unread_time_near_the_edge_comes_first(self) -> None:
        edge = NOW - LOG_KEEPS_MS
        unread = TimeRanges([(edge + MINUTE, NOW - HOUR_MS)])
        first, *_ = asked(situation(*steady(1, HOUR_MS, 30_000, 30_000), unread=unread))
        assert isinstance(first, ReadRange)
        assert first.why is Why.LEAVING
        assert first.range.since_ms == edge + MINUTE

    def test_messages_in_flight_are_asked_a_last_time_once(self) -> None:
        sent = NOW - LOG_KEEPS_MS + 3 * MINUTE
        old = row(sent, sent + 30_000, 30, 2, NOW - HOUR_MS, final=True)
        assert asked(situation(old))[0] == LookUp(Why.LEAVING, (sent,))
        again = old._replace(looked_ms=NOW)
        assert not [each for each in asked(situation(again)) if each.why is Why.LEAVING]

    def test_they_are_asked_by_range_where_ids_can_not_be(self) -> None:
        sent = NOW - LOG_KEEPS_MS + 3 * MINUTE
        old = row(sent, sent + 30_000, 30, 2, NOW - HOUR_MS, final=True)
        request = asked(situation(old, may_look_up=False))[0]
        assert request == ReadRange(Why.LEAVING, TimeRange(sent, sent + 30_000))

    def test_nothing_leaves_where_answers_contradict_each_other(self) -> None:
        sent = NOW - LOG_KEEPS_MS + 3 * MINUTE
        old = row(sent, sent + 30_000, 30, 2, NOW, final=True)
        unread = TimeRanges([(sent + 30_000, sent + 60_000)])
        now = situation(old, unread=unread, certain=False)
        assert not [each for each in asked(now) if each.why is Why.LEAVING]


class TestFinal:
    def test_cells_wait_until_they_fill_a_page(self) -> None:
        due = steady(1, 65 * MINUTE, 60 * MINUTE, 30_000)
        assert asked(situation(*due)) == []

    def test_a_full_page_of_them_is_read(self) -> None:
        due = steady(1, 80 * MINUTE, 60 * MINUTE, 30_000)
        [request] = [each for each in asked(situation(*due)) if each.why is Why.FINAL][:1]
        assert isinstance(request, ReadRange)
        assert request.range == TimeRange(NOW - 80 * MINUTE, NOW - 80 * MINUTE + 31 * 30_000)

    def test_after_ten_minutes_they_wait_no_more(self) -> None:
        due = steady(0.5, 71 * MINUTE, 60 * MINUTE, 30_000)
        [request] = asked(situation(*due))
        assert request == ReadRange(Why.FINAL, TimeRange(NOW - 71 * MINUTE, NOW - 60 * MINUTE))

    def test_nothing_becomes_final_where_answers_contradict_each_other(self) -> None:
        due = steady(1, 90 * MINUTE, 60 * MINUTE, 30_000)
        assert asked(situation(*due, certain=False)) == []

    def test_what_has_left_the_log_is_not_read(self) -> None:
        gone = row(NOW - 50 * HOUR_MS, NOW - 49 * HOUR_MS, 5, in_flight=20)
        assert asked(situation(gone, settling=HOURS, may_look_up=False)) == []

    def test_cells_in_unread_time_are_left_to_the_backlog(self) -> None:
        seen = Cell(NOW - 2 * HOUR_MS, NOW - 2 * HOUR_MS + 1000, 5)
        assert asked(situation(seen)) == []


class TestBacklog:
    UNREAD = TimeRanges([(NOW - 6 * HOUR_MS, NOW - HOUR_MS)])

    def test_the_newest_page_by_the_traffic_around(self) -> None:
        now = situation(*steady(10, HOUR_MS, 30_000, 30_000), unread=self.UNREAD)
        first = asked(now)[0]
        assert isinstance(first, ReadRange)
        assert first.why is Why.BACKLOG
        assert first.range.until_ms == NOW - HOUR_MS
        assert first.range.length_ms == pytest.approx(93_000, rel=0.01)

    def test_it_begins_earlier_where_the_time_before_was_read_too_soon(self) -> None:
        unread = TimeRanges([(NOW - 5 * MINUTE, NOW - 4 * MINUTE)])
        before = row(NOW - 6 * MINUTE, NOW - 5 * MINUTE, 60)
        for waited_ms, since_ms in ((0, NOW - 5 * MINUTE - 3000), (3000, NOW - 5 * MINUTE)):
            read = before._replace(read_ms=before.until_ms + waited_ms)
            backlog = [each for each in asked(situation(read, unread=unread)) if each.why is Why.BACKLOG]
            assert isinstance(backlog[0], ReadRange)
            assert backlog[0].range == TimeRange(since_ms, NOW - 4 * MINUTE)

    def test_it_gets_every_second_request(self) -> None:
        busy = steady(30, HOUR_MS, 30_000, 30_000, in_flight=500)
        why = [each.why for each in asked(situation(*busy, unread=self.UNREAD, settling=MINUTES))]
        assert len(why) == 50
        assert why.count(Why.BACKLOG) == 25

    def test_it_gets_all_where_nothing_else_is_worth_a_request(self) -> None:
        now = situation(*steady(30, HOUR_MS, 30_000, 30_000), unread=self.UNREAD)
        assert {each.why for each in asked(now)} == {Why.BACKLOG}

    def test_its_ranges_do_not_overlap(self) -> None:
        ranges = [
            each.range for each in asked(situation(unread=self.UNREAD), 4) if isinstance(each, ReadRange)
        ]
        assert len(ranges) == 4
        assert all(newer.since_ms == older.until_ms for newer, older in pairwise(ranges))

    def test_its_ranges_are_as_long_as_fills_a_page_by_what_was_read_nearby(self) -> None:
        known = row(NOW - HOUR_MS, NOW - HOUR_MS + MINUTE, 186)
        now = situation(known, unread=self.UNREAD, per_second=0)
        first = asked(now)[0]
        assert isinstance(first, ReadRange)
        assert first.range.length_ms == pytest.approx(MINUTE * now.room / 186, abs=1)

    def test_where_one_read_fits_it_waits_for_the_final_age(self) -> None:
        unread = TimeRanges([(NOW - 10 * MINUTE, NOW - 30_000)])
        ranges = [
            each.range
            for each in asked(situation(per_second=1000, unread=unread))
            if isinstance(each, ReadRange)
        ]
        assert ranges[0].until_ms == NOW - round(SWEEP_AGE * 2 * MINUTE)
        assert len(ranges) == 50

    def test_the_first_read_of_unread_time_is_no_re_check(self) -> None:
        seen = [
            cell._replace(read_ms=NEVER_MS) for cell in steady(10, 10 * MINUTE, MINUTE, 60_000, in_flight=500)
        ]
        now = situation(*seen, per_second=10, may_look_up=False)
        assert not [each for each in asked(now) if each.why is Why.RECHECK]


class TestFailures:
    def test_one_page_of_each_status_where_settling_takes_long(self) -> None:
        cells = steady(10, HOUR_MS, 30_000, 30_000, in_flight=100)
        now = situation(*cells, per_second=10, settling=HOURS, failures_per_s={"REJECTED": 1.0})
        requests = asked(now)
        statuses = [each for each in requests if isinstance(each, ReadStatus) and each.why is Why.FAILURES]
        assert [each.general_status for each in statuses] == ["REJECTED", "UNDELIVERABLE", "EXPIRED"]
        assert statuses[0].range.length_ms == pytest.approx(930_000, rel=0.01)
        assert statuses[0].range.until_ms == now.latest_ms

    def test_sweeps_further_back_ask_for_all_statuses_of_one_range(self) -> None:
        cells = steady(10, 8 * HOUR_MS, 30_000, 30_000, in_flight=100, final=True, audited=True)
        rates = {"REJECTED": 0.06, "UNDELIVERABLE": 0.06, "EXPIRED": 0.03}
        now = situation(*cells, per_second=10, settling=HOURS, failures_per_s=rates)
        sweep = [each for each in asked(now) if isinstance(each, ReadStatus) and each.why is Why.RECHECK]
        assert [each.general_status for each in sweep[:3]] == ["REJECTED", "UNDELIVERABLE", "EXPIRED"]
        assert len({each.range for each in sweep[:3]}) == 1
        assert sweep[0].range.until_ms < NOW - 4 * HOUR_MS

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"settling": QUICK}, id="settling is quick and the budget large"),
            pytest.param({"may_ask_status": False}, id="the filter fails"),
            pytest.param({"rows_per_s": 0.001}, id="the head reaches back to all in flight"),
        ],
    )
    def test_none(self, changes: dict[str, object]) -> None:
        per_second = 0.01 if "rows_per_s" in changes else 10.0
        cells = steady(per_second, HOUR_MS, 30_000, 30_000, in_flight=1)
        now = situation(*cells, settling=HOURS)
        assert not [each for each in asked(replace(now, **changes)) if isinstance(each, ReadStatus)]  # type: ignore[arg-type]


class TestRecheck:
    def test_nothing_is_asked_when_nothing_is_worth_it(self) -> None:
        cells = steady(10, 5 * MINUTE, 30_000, 30_000)
        assert asked(situation(*cells, per_second=10)) == []

    def test_many_of_a_cell_by_range(self) -> None:
        cells = steady(20, 5 * MINUTE, 30_000, 30_000)
        busy = row(NOW - 3 * MINUTE, NOW - 150_000, 600, 500)
        cells[cells.index(row(NOW - 3 * MINUTE, NOW - 150_000, 600))] = busy
        first = asked(situation(*cells, per_second=20))[0]
        assert isinstance(first, ReadRange)
        assert first.why is Why.RECHECK
        assert first.range.covers(busy.range)

    def test_few_of_many_cells_by_id(self) -> None:
        cells = steady(20, 40 * MINUTE, 30_000, 30_000, in_flight=2)
        first = asked(situation(*cells, per_second=20))[0]
        assert isinstance(first, LookUp)
        assert len(first.cells) == 25

    def test_by_range_where_ids_can_not_be_asked_for(self) -> None:
        cells = steady(20, 40 * MINUTE, 30_000, 30_000, in_flight=2)
        first = asked(situation(*cells, per_second=20, may_look_up=False))[0]
        assert isinstance(first, ReadRange)

    def test_a_straggler_is_asked_for_at_growing_ages(self) -> None:
        sent = NOW - 12 * HOUR_MS
        looked = NOW - 12 * HOUR_MS
        asked_at: list[int] = []
        for minute in range(12 * 60):
            now_ms = sent + minute * MINUTE
            cell = row(sent, sent + 1000, 1, 1, looked, final=True, audited=True)
            now = situation(cell, now_ms=now_ms, latest_ms=now_ms, watermark_ms=now_ms, per_second=100)
            if asked(now):
                asked_at.append(minute)
                looked = now_ms
        gaps = [later / earlier for earlier, later in pairwise(asked_at) if earlier > 10]
        assert 8 < len(asked_at) < 60
        assert all(1.1 < gap < 1.6 for gap in gaps)


class TestAudit:
    def test_final_cells_in_runs_that_fill_a_page_oldest_first(self) -> None:
        cells = steady(1, 200 * MINUTE, 80 * MINUTE, 30_000, final=True)
        requests = asked(situation(*cells))
        assert {each.why for each in requests} == {Why.AUDIT}
        ranges = [each.range for each in requests if isinstance(each, ReadRange)]
        assert ranges[0].since_ms == NOW - 200 * MINUTE
        assert all(one.until_ms == other.since_ms for one, other in pairwise(ranges))

    def test_what_was_read_twice_waits_for_records_that_turn_up_late(self) -> None:
        young, old = (
            [
                cell._replace(reads=2)
                for cell in steady(1, age_h * HOUR_MS, (age_h - 1) * HOUR_MS, 60_000, final=True)
            ]
            for age_h in (23, 26)
        )
        ranges = [each.range for each in asked(situation(*old, *young)) if isinstance(each, ReadRange)]
        assert ranges[0].since_ms == old[0].since_ms
        assert ranges[-1].until_ms == old[-1].until_ms

    @pytest.mark.parametrize("column", ["audited", "auditable"])
    def test_each_once(self, column: str) -> None:
        cells = steady(1, 200 * MINUTE, 80 * MINUTE, 30_000, final=True, **{column: column == "audited"})
        assert asked(situation(*cells)) == []

    def test_not_close_to_the_edge(self) -> None:
        age = LOG_KEEPS_MS - 3 * MINUTE
        assert asked(situation(*steady(1, age, age - MINUTE, 30_000, final=True))) == []

    def test_a_sample_where_the_budget_leaves_none(self) -> None:
        audited = steady(1, 200 * MINUTE, 80 * MINUTE, 30_000, final=True)
        busy = steady(30, HOUR_MS, 30_000, 30_000, in_flight=500)
        now = situation(*audited, *busy, settling=MINUTES)
        planner = Planner(Random(1))
        polls = [sum(each.why is Why.AUDIT for each in asked(now, 10, planner)) for _ in range(45)]
        assert sum(polls) == 2


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    cells: list[Cell] = []
    unread: list[tuple[int, int]] = []
    moment = NOW - draw(st.integers(0, LOG_KEEPS_MS))
    watermark = NOW - draw(st.integers(0, 120_000))
    longest = draw(st.sampled_from([10_000, 600_000, 20_000_000]))
    while moment < watermark and len(cells) < 40:
        until = min(watermark, moment + draw(st.integers(1, longest)))
        kind = draw(st.integers(0, 9))
        if kind == 0:
            unread.append((moment, until))
        elif kind > 1:
            messages = draw(st.integers(0, 1000))
            final = draw(st.booleans())
            cells.append(
                row(
                    moment,
                    until,
                    messages,
                    min(messages, draw(st.sampled_from([0, 1, 30, 1000]))),
                    draw(st.integers(until, NOW)),
                    final=final,
                    audited=final and draw(st.booleans()),
                    auditable=draw(st.booleans()),
                )
            )
        moment = until
    return situation(
        *cells,
        unread=TimeRanges(unread),
        watermark_ms=watermark,
        per_second=draw(st.sampled_from([0.0, 0.1, 10.0, 600.0, 1000.0])),
        settling=draw(st.sampled_from([QUICK, MINUTES, HOURS])),
        widest_ms=draw(st.sampled_from([LOG_KEEPS_MS, 3_600_000, 5000, 1])),
        certain=draw(st.booleans()),
        may_look_up=draw(st.booleans()),
        page_rows=draw(st.sampled_from([1000, 100, 1])),
    )


def touched(request: Request, cells: Cells) -> set[int]:
    """The cells that a request asks for, by their beginning."""
    if isinstance(request, LookUp):
        return set(request.cells)
    if isinstance(request, ReadRange):
        return {cell.since_ms for cell in cells.between(request.range)}
    return set()


@settings(max_examples=100, deadline=None)
@given(situations())
def test_the_head_leaves_no_gap(now: Situation) -> None:
    ranges = [request.range for request in head(now)]
    assert all(one.until_ms == other.since_ms for one, other in pairwise(ranges))
    assert ranges[-1].until_ms == (now.latest_ms if now.certain else now.now_ms)
    assert now.one_read_only or all(0 < each.length_ms <= max(now.widest_ms, 1) for each in ranges)
    complete = len(ranges) < int(now.requests_per_poll * 0.9) and not now.one_read_only
    if complete:
        assert ranges[0].since_ms <= now.watermark_ms - 3000
    before = TimeRange(ranges[0].since_ms, now.watermark_ms - 3000)
    assert not any(each.length_ms for each in now.unread.meet(before)) or not complete


@settings(max_examples=100, deadline=None)
@given(situations())
def test_no_request_asks_again_for_what_is_under_way_or_is_too_wide(now: Situation) -> None:
    requests = asked(now, 30)
    seen: set[int] = set()
    taken = TimeRanges()
    for each in requests:
        request = each
        if isinstance(request, ReadRange):
            assert 0 < request.range.length_ms <= now.widest_ms
            if unread := now.unread.meet(request.range).ranges:  # it may begin earlier than what is unread
                request = replace(request, range=TimeRange(unread[0].since_ms, request.range.until_ms))
            assert not taken.meet(request.range)
            taken = taken.add(request.range)
            if request.why not in {Why.BACKLOG, Why.LEAVING}:
                assert not now.unread.meet(request.range)
        cells = touched(request, now.cells)
        assert not cells & seen
        seen |= cells


@settings(max_examples=100, deadline=None)
@given(situations())
def test_a_backlog_is_always_served(now: Situation) -> None:
    due = now.unread
    if now.one_read_only:
        due = due.below(now.now_ms - round(SWEEP_AGE * now.final_age_ms))
    due = due.below(now.watermark_ms - 3000)
    why = {request.why for request in asked(now, 50)}
    if due and len(now.cells) < 20:
        assert why & {Why.BACKLOG, Why.LEAVING}
