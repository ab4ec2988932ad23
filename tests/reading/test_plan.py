"""What is asked next: the newest first, then what is due; full requests, and nothing twice without need."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.ledger.changes import Remembered
from infobip_exporter.ledger.progress import Progress
from infobip_exporter.reading import plan
from infobip_exporter.reading.looks import looked_after
from infobip_exporter.reading.outlook import HOUR_MS, LADDER_MS, MINUTE_MS, Outlook
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.task import LookUp, ReadSpan, Why

NOW = 1_790_000_000_000
EDGE = NOW - 48 * HOUR_MS
INTERVAL = 30_000
LATE = 120_000

LADDER = (*LADDER_MS, 48 * HOUR_MS - 3 * MINUTE_MS)

InFlight = list[tuple[str, Remembered]]


def in_flight(*sent_ms: int, name: str = "m") -> InFlight:
    return [
        (f"{name}{number:035}", Remembered(sent, "PENDING", "", "", settled=False))
        for number, sent in enumerate(sorted(sent_ms))
    ]


def asked(messages: InFlight) -> Callable[[Span, int], InFlight]:
    return lambda span, most: [each for each in messages if each[1].sent_ms in span][:most]


def outlook(
    per_second: float = 0.01,
    *,
    unread: tuple[tuple[int, int], ...] = ((NOW - INTERVAL, NOW),),
    opened: tuple[tuple[int, int], ...] = ((NOW - INTERVAL - LATE, NOW - INTERVAL),),
    flying: InFlight | None = None,
    **others: object,
) -> Outlook:
    progress = Progress(
        frontier_ms=NOW,
        unread=SpanSet(unread),
        open=SpanSet(opened),
        looked_ms={age: NOW - INTERVAL - age for age in LADDER},
    )
    rate = per_second / 1000
    plain = Outlook(
        progress=progress,
        now_ms=NOW,
        edge_ms=EDGE,
        late_ms=LATE,
        interval_ms=INTERVAL,
        limit=1000,
        requests_per_minute=100,
        rows_per_ms=rate,
        rows_in=lambda span: span.length_ms * rate,
        since_with=lambda until_ms, rows: until_ms - int(rows / rate) if rate else EDGE,
        in_flight=asked(flying or []),
        spent={},
        fresh_done=False,
    )
    return replace(plain, **others)  # type: ignore[arg-type]


def test_a_quiet_feed_reads_all_that_is_open_with_the_newest_time() -> None:
    task = plan.choose(outlook())
    assert isinstance(task, ReadSpan)
    assert (task.why, task.span) == (Why.FRESH, Span(NOW - INTERVAL - LATE, NOW))


def test_messages_due_for_a_look_ride_along_where_the_page_has_room() -> None:
    sent_ms = NOW - LADDER_MS[5] - 10_000
    task = plan.choose(outlook(flying=in_flight(sent_ms)))
    assert isinstance(task, ReadSpan)
    assert task.span.since_ms == sent_ms
    assert task.looked_ms is not None
    assert task.looked_ms[LADDER_MS[5]] == NOW - LADDER_MS[5]


def test_nothing_rides_along_that_is_not_due() -> None:
    just_looked_at = NOW - LADDER_MS[5] - INTERVAL - 10_000
    task = plan.choose(outlook(flying=in_flight(just_looked_at)))
    assert isinstance(task, ReadSpan)
    assert task.span.since_ms == NOW - INTERVAL - LATE


def test_a_page_that_can_not_hold_all_that_is_open_reads_the_newest_of_it() -> None:
    task = plan.choose(outlook(8.0))
    assert isinstance(task, ReadSpan)
    assert (task.why, task.span) == (Why.FRESH, Span(NOW - 900_000 // 8, NOW))


def test_what_has_to_be_read_again_takes_turns_with_the_fresh_read() -> None:
    waiting = ((NOW - 10 * MINUTE_MS, NOW - INTERVAL),)
    task = plan.choose(outlook(8.0, opened=waiting))
    assert isinstance(task, ReadSpan)
    assert task.why is Why.AGAIN
    assert task.span.until_ms <= NOW - LATE
    later = plan.choose(outlook(8.0, opened=waiting, unread=((NOW - 2 * INTERVAL, NOW),)))
    assert isinstance(later, ReadSpan)
    assert later.why is Why.FRESH


def test_a_crowd_is_read_once_when_it_is_ripe() -> None:
    crowd = outlook(100.0, unread=((NOW - 6 * MINUTE_MS, NOW),), opened=())
    task = plan.choose(crowd)
    assert isinstance(task, ReadSpan)
    assert (task.why, task.span) == (Why.AGAIN, Span(NOW - 6 * MINUTE_MS, NOW - LATE))
    slow = replace(crowd, settled_after_ms=4 * MINUTE_MS)
    task = plan.choose(slow)
    assert isinstance(task, ReadSpan)
    assert task.span.until_ms == NOW - 4 * MINUTE_MS
    slower = plan.choose(replace(crowd, settled_after_ms=HOUR_MS))
    assert isinstance(slower, ReadSpan)
    assert (slower.why, slower.span) == (Why.AGAIN, Span(NOW - 6 * MINUTE_MS, NOW - 5 * MINUTE_MS))


def test_reads_are_put_off_until_looks_are_few_where_the_budget_is_not_enough_for_them() -> None:
    def slow(age_ms: int) -> float:
        return max(0.0, 1 - age_ms / (8 * HOUR_MS))

    def ripe_age_h(per_second: float) -> float:
        crowd = outlook(per_second, settled_after_ms=8 * HOUR_MS, unsettled_share=slow)
        return (NOW - crowd.ripe_before_ms) / HOUR_MS

    assert ripe_age_h(100.0) == 5 / 60
    assert ripe_age_h(300.0) == 5 / 60
    assert ripe_age_h(450.0) == 10
    assert ripe_age_h(1500.0) == 10


def test_the_backlog_is_read_from_the_newest_down() -> None:
    backlog = ((NOW - 9 * HOUR_MS, NOW - 8 * HOUR_MS), (NOW - 3 * HOUR_MS, NOW - 2 * HOUR_MS))
    task = plan.choose(outlook(unread=backlog, fresh_done=True))
    assert task == ReadSpan(Why.BACKLOG, Span(NOW - 3 * HOUR_MS, NOW - 2 * HOUR_MS))


def test_what_would_leave_the_log_is_read_first() -> None:
    backlog = ((EDGE + MINUTE_MS, EDGE + HOUR_MS), (NOW - 3 * HOUR_MS, NOW - 2 * HOUR_MS))
    task = plan.choose(outlook(unread=backlog, fresh_done=True))
    assert isinstance(task, ReadSpan)
    assert (task.why, task.span.since_ms) == (Why.RESCUE, EDGE + MINUTE_MS)


def test_a_class_that_has_had_its_share_makes_way_for_the_others() -> None:
    backlog = ((EDGE + MINUTE_MS, NOW - 2 * HOUR_MS),)
    busy = outlook(unread=backlog, fresh_done=True)
    assert plan.choose(replace(busy, spent={Why.RESCUE: 8, Why.BACKLOG: 0})).why is Why.BACKLOG  # type: ignore[union-attr]
    assert plan.choose(replace(busy, spent={Why.RESCUE: 1, Why.BACKLOG: 8})).why is Why.RESCUE  # type: ignore[union-attr]


def idle(**others: object) -> Outlook:
    return outlook(8.0, unread=(), opened=((NOW - LATE, NOW),), fresh_done=True, **others)  # type: ignore[arg-type]


def test_nothing_is_asked_when_nothing_is_due() -> None:
    assert plan.choose(idle()) is None


def test_a_look_waits_for_company_and_then_takes_all_that_are_due_along() -> None:
    age_ms = LADDER_MS[9]
    impatient = in_flight(NOW - age_ms - 20_000)
    assert plan.choose(idle(flying=impatient)) is None
    waited = in_flight(NOW - round(1.3 * age_ms))
    others = in_flight(NOW - LADDER_MS[12] - 1000, name="n")
    task = plan.choose(looked_long_ago(idle(flying=[*others, *waited]), HOUR_MS))
    assert isinstance(task, LookUp)
    assert set(task.messages) == {name for name, _ in (*waited, *others)}
    assert task.looked_ms[age_ms] == NOW - age_ms


def looked_long_ago(ready: Outlook, looked_before_ms: int) -> Outlook:
    """The same, but the looks are so far behind."""
    looked = {age: NOW - age - looked_before_ms for age in LADDER}
    return replace(ready, progress=Progress(frontier_ms=NOW, open=ready.progress.open, looked_ms=looked))


def test_a_full_request_of_looks_does_not_wait() -> None:
    age_ms = LADDER_MS[9]
    spread = in_flight(*range(NOW - age_ms - 200_000, NOW - age_ms - 1000, 3000))
    task = plan.choose(looked_long_ago(idle(flying=spread), 200_000))
    assert isinstance(task, LookUp)
    assert len(",".join(task.messages)) <= 2048
    assert len(task.messages) > 45


def test_many_in_flight_close_together_are_looked_at_by_reading_their_span() -> None:
    age_ms = LADDER_MS[9]
    first_ms = NOW - round(1.3 * age_ms)
    task = plan.choose(looked_long_ago(idle(flying=in_flight(*range(first_ms, first_ms + 300))), age_ms))
    assert isinstance(task, ReadSpan)
    assert (task.why, task.span.since_ms) == (Why.LOOK, first_ms)


def test_a_crowded_millisecond_in_flight_is_not_asked_for_again_and_again() -> None:
    sent_ms = NOW - LADDER_MS[9] - 25_000
    ready = looked_long_ago(idle(flying=in_flight(*[sent_ms] * 40)), HOUR_MS)
    for limit in (10, 20, 1000):
        task = plan.choose(replace(ready, limit=limit))
        assert task is not None
        assert task.looked_ms is not None
        assert task.looked_ms[LADDER_MS[9]] > sent_ms


def test_ids_that_would_break_a_list_are_looked_at_by_span() -> None:
    age_ms = LADDER_MS[9]
    (first, *_), sent_ms = in_flight(0), NOW - age_ms * 2
    odd = [("a,b", first[1]._replace(sent_ms=sent_ms))]
    task = plan.choose(looked_long_ago(idle(flying=odd), 2 * age_ms))
    assert isinstance(task, ReadSpan)
    assert sent_ms in task.span


def test_looks_are_made_at_ages_at_which_they_should_find_something() -> None:
    def slow(age_ms: int) -> float:
        return 1.0 if age_ms < 2 * HOUR_MS else 0.01

    too_early, in_time = LADDER_MS[9], LADDER_MS[11]
    assert too_early < 2 * HOUR_MS < in_time
    for age_ms, asked_for in ((too_early, False), (in_time, True)):
        waiting = looked_long_ago(idle(flying=in_flight(NOW - 2 * age_ms)), HOUR_MS)
        waiting = replace(waiting, progress=waiting.progress, unsettled_share=slow)
        assert (age_ms in waiting.worthwhile()) is asked_for
    assert replace(waiting, unsettled_share=lambda _: 1.0).worthwhile() == LADDER[-2:]
    assert replace(waiting, unsettled_share=lambda _: 0.0).worthwhile() == LADDER


def test_nobody_waits_for_a_message_that_the_api_fails_to_show() -> None:
    age_ms = LADDER_MS[11]
    hidden_ms, sent_ms = NOW - 2 * age_ms, NOW - round(1.5 * age_ms)
    flying = in_flight(hidden_ms, sent_ms)
    ready = looked_long_ago(idle(flying=flying, stubborn=SpanSet([(hidden_ms, hidden_ms + 1000)])), age_ms)
    task = plan.choose(ready)
    assert isinstance(task, LookUp)
    assert list(task.messages) == [flying[1][0]]
    done = Progress(frontier_ms=NOW, open=ready.progress.open, looked_ms=dict(task.looked_ms))
    assert plan.choose(replace(ready, progress=done)) is None


def test_every_message_in_flight_has_a_last_look_before_it_leaves() -> None:
    sent_ms = NOW - (48 * HOUR_MS - 3 * MINUTE_MS) - 70_000
    task = plan.choose(looked_long_ago(idle(flying=in_flight(sent_ms)), 100_000))
    assert isinstance(task, LookUp)


def test_rungs_without_messages_are_done_without_a_request() -> None:
    done = looked_after(idle(flying=in_flight(NOW - LADDER_MS[9] - 1000)))
    assert done[LADDER_MS[9]] == NOW - LADDER_MS[9] - 1000
    assert done[LADDER_MS[5]] == NOW - LADDER_MS[5]


@settings(max_examples=150, deadline=None)
@given(
    ages_s=st.lists(st.integers(150, 47 * 3600) | st.integers(3000, 3010), max_size=150),
    per_second=st.sampled_from([0.01, 2.0, 8.0, 50.0]),
    limit=st.sampled_from([10, 100, 1000]),
    behind_s=st.integers(0, 40_000),
)
def test_looks_come_to_an_end_and_leave_nobody_out(
    ages_s: list[int], per_second: float, limit: int, behind_s: int
) -> None:
    flying = in_flight(*[NOW - age_s * 1000 for age_s in ages_s])
    ready = replace(idle(flying=flying), limit=limit)
    ready = looked_long_ago(ready, behind_s * 1000)
    due = {
        name
        for name, message in flying
        if any(
            NOW - behind_s * 1000 - age <= message.sent_ms < NOW - age - max(age, 4 * INTERVAL)
            for age in LADDER
        )
    }
    looked_at: set[str] = set()
    for _ in range(400):
        task = plan.look(ready)
        if task is None:
            break
        assert task.looked_ms is not None
        if isinstance(task, LookUp):
            looked_at |= set(task.messages)
        else:
            looked_at |= {name for name, message in flying if message.sent_ms in task.span}
        assert all(
            task.looked_ms[age] >= ready.progress.looked_ms[age] for age in LADDER if age in task.looked_ms
        )
        moved = Progress(frontier_ms=NOW, open=ready.progress.open, looked_ms=dict(task.looked_ms))
        ready = replace(ready, progress=moved)
    else:
        raise AssertionError("the looks go in circles")
    assert due <= looked_at


@given(
    unread=st.lists(st.tuples(st.integers(0, 48 * 60), st.integers(0, 48 * 60)), max_size=5),
    opened=st.lists(st.tuples(st.integers(0, 48 * 60), st.integers(0, 48 * 60)), max_size=5),
    per_second=st.sampled_from([0.001, 1.0, 8.0, 40.0, 900.0, 1700.0]),
    fresh_done=st.booleans(),
)
def test_what_is_read_reaches_into_what_is_to_be_read_and_never_beyond_the_frontier(
    unread: list[tuple[int, int]], opened: list[tuple[int, int]], per_second: float, fresh_done: bool
) -> None:
    def spans(minutes: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        return tuple((NOW - max(pair) * MINUTE_MS, NOW - min(pair) * MINUTE_MS) for pair in minutes)

    to_read = SpanSet(spans(unread))
    still_open = SpanSet(spans(opened)).without(to_read)
    task = plan.choose(
        outlook(
            per_second,
            unread=tuple(tuple(span) for span in to_read),  # type: ignore[misc]
            opened=tuple(tuple(span) for span in still_open),  # type: ignore[misc]
            fresh_done=fresh_done,
        )
    )
    if task is None:
        return
    assert isinstance(task, ReadSpan)
    assert task.span.length_ms > 0
    assert task.span.until_ms <= NOW
    assert SpanSet((*to_read, *still_open)).meet(task.span).total_ms > 0
