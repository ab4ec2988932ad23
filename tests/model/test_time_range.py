"""Sets of sent time agree with sets of milliseconds."""

from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.model.time_range import TimeRange, TimeRanges

RANGE = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda each: TimeRange(each[0], sum(each)))
RANGES = st.lists(RANGE, max_size=6).map(TimeRanges)
MOMENT = st.integers(0, 60)


def moments(ranges: TimeRanges) -> set[int]:
    return {moment for each in ranges for moment in range(*each)}


@given(RANGES)
def test_they_are_disjoint_in_order_and_do_not_touch(ranges: TimeRanges) -> None:
    bounds = [moment for each in ranges for moment in each]
    assert bounds == sorted(set(bounds))
    assert ranges.total_ms == len(moments(ranges))
    assert TimeRanges(ranges) == ranges
    assert hash(TimeRanges(ranges)) == hash(ranges)


@given(RANGES, RANGE, RANGES, MOMENT)
def test_they_agree_with_sets(ranges: TimeRanges, one: TimeRange, others: TimeRanges, moment: int) -> None:
    held, inside = moments(ranges), set(range(*one))
    assert moments(ranges.add(one)) == held | inside
    assert moments(ranges.remove(one)) == held - inside
    assert moments(ranges.without(others)) == held - moments(others)
    assert moments(ranges.meet(one)) == held & inside
    assert moments(ranges.below(moment)) == {each for each in held if each < moment}
    assert moments(ranges.above(moment)) == {each for each in held if each >= moment}
    assert ranges.holds(moment) == (moment in held)


@given(RANGE, RANGE)
def test_ranges_meet_and_cover_as_sets_do(one: TimeRange, other: TimeRange) -> None:
    assert set(range(*one.meet(other))) == set(range(*one)) & set(range(*other))
    assert one.meet(other).length_ms == len(set(range(*one)) & set(range(*other)))
    if other.length_ms:
        assert one.covers(other) == (set(range(*other)) <= set(range(*one)))
