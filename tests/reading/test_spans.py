from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.reading.spans import Span, SpanSet

bounds = st.tuples(st.integers(0, 60), st.integers(0, 60))
span_sets = st.lists(bounds, max_size=6).map(SpanSet)
spans = bounds.map(lambda pair: Span(*pair))
MOMENTS = range(-1, 62)


def moments(span_set: SpanSet) -> set[int]:
    return {moment for moment in MOMENTS if moment in span_set}


@given(span_sets)
def test_spans_are_sorted_and_do_not_touch(span_set: SpanSet) -> None:
    ends = [moment for span in span_set for moment in span]
    assert ends == sorted(set(ends))


@given(span_sets, spans)
def test_adding_a_span_adds_its_moments(span_set: SpanSet, span: Span) -> None:
    assert moments(span_set.add(span)) == moments(span_set) | {m for m in MOMENTS if m in span}


@given(span_sets, spans)
def test_removing_a_span_removes_its_moments(span_set: SpanSet, span: Span) -> None:
    assert moments(span_set.remove(span)) == moments(span_set) - {m for m in MOMENTS if m in span}


@given(span_sets, span_sets)
def test_a_set_without_another_has_none_of_its_moments(span_set: SpanSet, others: SpanSet) -> None:
    assert moments(span_set.without(others)) == moments(span_set) - moments(others)


@given(span_sets, spans)
def test_what_meets_a_window_lies_in_both(span_set: SpanSet, span: Span) -> None:
    assert moments(span_set.meet(span)) == moments(span_set) & {m for m in MOMENTS if m in span}


@given(span_sets, st.integers(0, 60))
def test_below_and_above_part_a_set_at_a_moment(span_set: SpanSet, moment: int) -> None:
    below, above = moments(span_set.below(moment)), moments(span_set.above(moment))
    assert below | above == moments(span_set)
    assert all(m < moment for m in below)
    assert all(m >= moment for m in above)


@given(span_sets)
def test_the_total_is_the_number_of_moments(span_set: SpanSet) -> None:
    assert span_set.total_ms == len(moments(span_set))


def test_a_span_is_half_open() -> None:
    span = Span(10, 12)
    assert [moment in span for moment in (9, 10, 11, 12)] == [False, True, True, False]
    assert span.length_ms == 2
    assert Span(12, 10).length_ms == 0
