"""A millisecond that fills a page: what counts as proof that all of it was shown."""

from collections.abc import Callable, Sequence

import pytest

from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Page, Record, Records
from infobip_exporter.model.time_range import TimeRange
from infobip_exporter.planning.oversized import KnownValues, Millisecond, QueryRefused, read_millisecond
from tests.feed.recording import BEGIN_MS, DELIVERED, PENDING, row

LIMIT = 50
ONE = TimeRange(BEGIN_MS, BEGIN_MS + 1)
Answer = Callable[[Query], Page]


def rows(count: int, name: str = "m", at_s: float = 0.0, entity: str = "shop") -> list[Record]:
    kinds = [DELIVERED._replace(entity_id=entity), PENDING._replace(entity_id=entity)]
    return [row(f"{name}{n}", at_s, kinds[n % 2]) for n in range(count)]


def page(records: Sequence[Record]) -> Page:
    return Page(Records.of(records[:LIMIT]), min(LIMIT, len(records)))


def read(first: Sequence[Record], answer: Answer) -> tuple[Millisecond, list[Query]]:
    """What comes of a read that begins with a page of `first`; `answer` gives the pages, or raises QueryRefused."""
    steps = read_millisecond(ONE, page(first), KnownValues(), LIMIT)
    queries: list[Query] = []
    try:
        query = next(steps)
        while True:
            queries.append(query)
            try:
                query = steps.send(answer(query))
            except QueryRefused as refused:
                query = steps.throw(refused)
    except StopIteration as end:
        return end.value, queries


def filters(log: Sequence[Record]) -> Answer:
    """An API whose filters work and that offers no cursor."""

    def answer(query: Query) -> Page:
        def passes(record: Record) -> bool:
            return (
                query.general_status in (None, record.kind.general_status)
                and query.entity_id in (None, record.kind.entity_id)
                and query.application_id in (None, record.kind.application_id)
                and query.sender in (None, record.sender)
            )

        return page([record for record in log if passes(record)])

    return answer


def refuse(query: Query) -> Page:
    raise QueryRefused(str(query))


def test_the_neighbours_that_an_inclusive_api_shows_are_left_out() -> None:
    inside, beside = rows(40), rows(20, "beside", -0.001)
    seen, [query] = read(
        beside + inside, lambda query: page(inside if query.tight_since else beside + inside)
    )
    assert seen.whole
    assert len(seen.records) == 40
    assert query.tight_since


def test_alone_it_is_not_believed_where_it_lacks_rows_that_were_seen() -> None:
    """An API of microseconds: the bound that names the millisecond leaves out what was sent within it."""
    whole_ms, within, beside = rows(20), rows(20, "within"), rows(20, "beside", 0.001)
    seen, queries = read(
        within + whole_ms + beside,
        lambda query: page(whole_ms) if query.tight_until and query.cursor is None else refuse(query),
    )
    assert not seen.whole
    assert len(seen.records) == 40
    assert len(queries) > 1


def cursor(log: Sequence[Record], size: int = 30, *, ends_empty: bool = False) -> Answer:
    def answer(query: Query) -> Page:
        if query.cursor is None:
            return refuse(query)
        first = int(query.cursor or 0)
        shown = list(log[first : first + size])
        last = first + size >= len(log)
        if last and ends_empty:
            shown = []
        return Page(
            Records.of(shown),
            len(shown),
            next_cursor=None if last else str(first + size),
            cursor_offered=True,
        )

    return answer


def test_by_cursor_it_is_read_to_the_end() -> None:
    log = rows(160)
    seen, _ = read(log, cursor(log))
    assert seen.whole
    assert len(seen.records) == 160


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(cursor(rows(160)[60:]), id="it lacks rows that were seen"),
        pytest.param(cursor(rows(160), ends_empty=True), id="it ends in an empty page"),
        pytest.param(
            lambda query: (
                Page(Records.of(rows(30)), 30, next_cursor="1", cursor_offered=True)
                if query.cursor is not None
                else refuse(query)
            ),
            id="it goes in circles",
        ),
        pytest.param(refuse, id="nothing works"),
    ],
)
def test_without_proof_what_was_seen_is_kept_and_not_whole(answer: Answer) -> None:
    seen, queries = read(rows(50), answer)
    assert not seen.whole
    assert len(seen.records) >= 50
    assert len(queries) < 30


def test_filters_that_agree_in_two_dimensions_are_proof() -> None:
    parts = zip(rows(30), rows(30, "n", entity="bank"), rows(30, "k", entity="post"), strict=True)
    log = [each for part in parts for each in part]
    seen, _ = read(log, filters(log))
    assert seen.whole
    assert len(seen.records) == 90


def test_a_group_nobody_asked_for_is_noticed_by_the_other_dimension() -> None:
    """Of a status that can't be asked for, the first page showed nothing."""
    unheard_of = [
        each._replace(kind=DELIVERED._replace(general_status="WITHDRAWN")) for each in rows(20, "w")
    ]
    log = rows(60) + unheard_of
    seen, _ = read(log, filters(log))
    assert len(seen.records) == 80 or not seen.whole


def test_values_beyond_the_most_are_forgotten_oldest_first() -> None:
    values = KnownValues(most=2)
    values.see([DELIVERED._replace(entity_id=name) for name in ("a", "b", "a", "c", "")], ["s"])
    assert list(values.entity_ids) == ["a", "c"]
