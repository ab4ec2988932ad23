"""A walk reads every message of its span exactly once, whatever the documents leave open turns out to be."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Record
from infobip_exporter.reading.dialogue import Learnt, QueryRefused, Read, Reply, Takes
from infobip_exporter.reading.spans import Span, SpanSet
from infobip_exporter.reading.walk import BoundsIgnored, walk
from infobip_exporter.sandbox.log import SimulatedLog
from infobip_exporter.sandbox.message import Message, plain_message
from infobip_exporter.sandbox.quirks import Quirks
from infobip_exporter.sandbox.world import World

NOW_MS = 1_790_000_000_000
LIMIT = 10


@dataclass
class Reader:
    """Carries a walk out against a simulated log, with pages of LIMIT rows."""

    log: SimulatedLog
    learnt: Learnt = field(default_factory=Learnt)
    questions: list[Query] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    limit: int = LIMIT
    late_ms: int = 0
    takes_ms: int = 0
    """How long an answer takes."""

    def read(self, span: Span) -> None:
        dialogue = walk(span, self.learnt, self.limit, self.late_ms)
        try:
            step = dialogue.send(None)
            while True:
                if isinstance(step, Read):
                    self.reads.append(step)
                    step = dialogue.send(None)
                    continue
                self.questions.append(step)
                assert len(self.questions) < 20_000, "the walk goes in circles"
                now_ms = NOW_MS + self.takes_ms * len(self.questions)
                reply = self.log.answer(step.parameters({}), now_ms)
                if reply.status == 200:
                    step = dialogue.send(Reply(decode_page(reply.body), now_ms))
                else:
                    step = dialogue.throw(QueryRefused(str(reply.status)))
        except StopIteration:
            return

    @property
    def records(self) -> list[Record]:
        return [record for read in self.reads for record in read.records]

    @property
    def ids(self) -> Counter[str]:
        return Counter(record.message_id for record in self.records)


def reader(messages: list[Message], quirks: Quirks, seed: int = 1) -> Reader:
    return Reader(SimulatedLog(World(messages=messages), quirks, random.Random(seed)))


def sent_at(*offsets_ms: int, **fields: str) -> list[Message]:
    return [
        plain_message(f"m{number}", NOW_MS - 100_000 + offset_ms, **fields)  # type: ignore[arg-type]
        for number, offset_ms in enumerate(offsets_ms)
    ]


def span(since_ms: int = 0, until_ms: int = 90_000) -> Span:
    return Span(NOW_MS - 100_000 + since_ms, NOW_MS - 100_000 + until_ms)


def test_time_that_becomes_old_while_it_is_read_does_not_make_a_walk_longer() -> None:
    """What is found out in old time is not worth a question for each second that has passed."""
    asked = reader(sent_at(*range(0, 90_000, 4500)), Quirks())
    asked.late_ms, asked.takes_ms = 100_000, 1000
    asked.read(span())
    assert len(asked.ids) == 20
    assert len(asked.questions) <= 8


@st.composite
def quirks(draw: st.DrawFn) -> Quirks:
    return Quirks(
        since_inclusive=draw(st.booleans()),
        until_inclusive=draw(st.booleans()),
        keeps=draw(st.sampled_from(["newest", "oldest"])),
        order=draw(st.sampled_from(["newest_first", "oldest_first", "shuffled"])),
        ties=draw(st.sampled_from(["stable", "random"])),
        cursor=draw(st.sampled_from(["ignored", "offered", "fails_midway", "empty_midway", "rejected"])),
        strict=False,
    )


def check(reading: Reader, messages: list[Message], wanted: Span) -> None:
    """Everything inside was read once, nothing else, and the parts that were read make up the whole span."""
    inside = Counter(message.message_id for message in messages if message.sent_ms in wanted)
    if all(read.whole for read in reading.reads):
        assert reading.ids == inside
    else:
        lost = SpanSet(read.span for read in reading.reads if not read.whole)
        assert all(count == 1 for count in reading.ids.values())
        missing = set(inside) - set(reading.ids)
        assert all(message.sent_ms in lost for message in messages if message.message_id in missing)
    assert SpanSet(read.span for read in reading.reads) == SpanSet([wanted])
    assert sum(read.span.length_ms for read in reading.reads) == wanted.length_ms
    assert all(record.sent_ms in read.span for read in reading.reads for record in read.records)


@settings(max_examples=400, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 90_000) | st.integers(40, 60), max_size=120),
    quirk=quirks(),
    bounds=st.tuples(st.integers(0, 60_000), st.integers(60_001, 90_000)) | st.just((40, 60)),
    seed=st.integers(0, 1000),
)
def test_every_message_is_read_once_under_every_reading_of_the_documents(
    offsets: list[int], quirk: Quirks, bounds: tuple[int, int], seed: int
) -> None:
    messages = sent_at(*offsets)
    reading = reader(messages, quirk, seed)
    reading.read(span(*bounds))
    check(reading, messages, span(*bounds))


@settings(max_examples=150, deadline=None)
@given(
    first=st.lists(st.integers(0, 40_000), min_size=20, max_size=100),
    second=st.lists(st.integers(40_000, 89_000), max_size=100),
    before=quirks(),
    after=quirks(),
)
def test_what_was_learnt_does_not_mislead_when_the_api_changes(
    first: list[int], second: list[int], before: Quirks, after: Quirks
) -> None:
    """The end a page holds is learnt once. An API that turns round is found out by the missing witness."""
    if before.keeps != after.keeps:
        after = replace(after, keeps=before.keeps)  # a first page without a witness can't tell; see the docs
    messages = sent_at(*first, *second)
    reading = reader(messages, before)
    reading.read(span(0, 40_000))
    reading.log.quirks = after
    reading.read(span(40_000, 90_000))
    check(reading, messages, span(0, 90_000))


def test_a_backlog_takes_hardly_more_requests_than_pages() -> None:
    messages = sent_at(*range(0, 90_000, 97))
    reading = reader(messages, Quirks())
    reading.read(span())
    check(reading, messages, span())
    # A page of ten gives nine, for its last millisecond is read again with the next one.
    assert len(reading.questions) <= len(messages) / (LIMIT - 1) + 3


@pytest.mark.parametrize("keeps", ["newest", "oldest"])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_the_end_that_a_full_page_holds_is_learnt_from_the_answers(keeps: str, order: str) -> None:
    messages = sent_at(*range(0, 90_000, 300))
    reading = reader(messages, Quirks(keeps=keeps, order=order))  # type: ignore[arg-type]
    reading.read(span())
    check(reading, messages, span())
    assert reading.learnt.takes is (Takes.NEWEST if keeps == "newest" else Takes.OLDEST)


def test_pages_in_no_order_are_read_in_pieces_that_fit() -> None:
    messages = sent_at(*range(0, 90_000, 97))
    reading = reader(messages, Quirks(order="shuffled"))
    reading.read(span())
    check(reading, messages, span())
    assert reading.learnt.takes is Takes.UNKNOWN
    assert len(reading.questions) <= 3 * len(messages) / LIMIT


def crowd(count: int, offset_ms: int = 5_000, **values: list[str]) -> list[Message]:
    """`count` messages in one millisecond, the values of each field given in turn."""
    return [
        plain_message(
            f"c{number}",
            NOW_MS - 100_000 + offset_ms,
            **{name: options[number % len(options)] for name, options in values.items()},  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


def test_a_crowded_millisecond_is_read_by_cursor_where_one_is_offered() -> None:
    messages = [*sent_at(4_999, 5_001), *crowd(95)]
    reading = reader(messages, Quirks(cursor="offered"))
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)


@pytest.mark.parametrize("cursor", ["ignored", "fails_midway", "empty_midway", "rejected"])
@pytest.mark.parametrize("ties", ["stable", "random"])
def test_a_crowded_millisecond_is_split_by_what_the_api_filters(cursor: str, ties: str) -> None:
    messages = crowd(
        100,
        group=["DELIVERED", "DELIVERED", "REJECTED"],
        entity_id=["e1", "e2", "e3", "e4", "e5"],
        application_id=["a1", "a2", "a3", "a4", "a5", "a6", "a7"],
        sender=[f"s{number}" for number in range(20)],
    )
    reading = reader(messages, Quirks(cursor=cursor, ties=ties, strict=cursor == "rejected"))  # type: ignore[arg-type]
    reading.learnt.values.entity_ids.update(dict.fromkeys([f"e{n}" for n in range(1, 6)]))
    reading.learnt.values.application_ids.update(dict.fromkeys([f"a{n}" for n in range(1, 8)]))
    reading.learnt.values.senders.update(dict.fromkeys([f"s{n}" for n in range(20)]))
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)


def test_an_entity_that_nobody_has_seen_yet_is_not_missed_in_silence() -> None:
    """The page of ten shows only e1; e2 is known from before, e3 from nowhere."""
    messages = [*crowd(10, entity_id=["e1"]), *crowd(9, entity_id=["e2"]), *crowd(3, entity_id=["e3"])]
    messages = [message._replace(message_id=f"m{number}") for number, message in enumerate(messages)]
    reading = reader(messages[::-1], Quirks(cursor="ignored"))
    reading.learnt.values.entity_ids["e2"] = None
    reading.read(span(0, 10_000))
    assert [read.span for read in reading.reads if not read.whole] == [span(5_000, 5_001)]
    check(reading, messages, span(0, 10_000))


def test_thousands_in_a_millisecond_of_known_entities_are_read_whole() -> None:
    messages = crowd(3_430, entity_id=[f"e{number}" for number in range(7)])
    reading = reader(messages, Quirks(cursor="ignored", ties="random"))
    reading.limit = 1000
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)
    assert len(reading.questions) < 30


def test_a_bulk_of_just_fifty_in_a_millisecond_is_no_page_cut_short() -> None:
    messages = [*crowd(50), *sent_at(20_000)]
    reading = reader(messages, Quirks(cursor="ignored"))
    reading.limit = 1000
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)


def test_a_bulk_of_just_fifty_that_splits_is_whole_even_if_the_log_holds_nothing_else() -> None:
    messages = crowd(50, group=["DELIVERED", "REJECTED", "EXPIRED"])
    reading = reader(messages, Quirks(cursor="ignored"))
    reading.limit = 1000
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)


def test_a_server_that_caps_answers_below_the_limit_hides_nothing_in_silence() -> None:
    messages = [*crowd(60, entity_id=["e1"]), *crowd(20, entity_id=["e2"])]
    messages = [message._replace(message_id=f"m{number}") for number, message in enumerate(messages)]
    reading = reader(messages[::-1], Quirks(cursor="ignored"))
    reading.limit = 1000
    real = reading.log.answer
    reading.log = SimpleNamespace(  # type: ignore[assignment]
        answer=lambda parameters, now_ms: real({**parameters, "limit": "50"}, now_ms)
    )
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert [read.span for read in reading.reads if not read.whole] == [span(5_000, 5_001)]


def test_what_can_not_be_split_is_told_and_what_was_seen_is_given() -> None:
    messages = [*sent_at(4_000, 6_000), *crowd(100)]
    reading = reader(messages, Quirks(cursor="ignored"))
    reading.read(span(0, 10_000))
    lost = [read for read in reading.reads if not read.whole]
    assert [read.span for read in lost] == [span(5_000, 5_001)]
    assert len(lost[0].records) >= LIMIT
    check(reading, messages, span(0, 10_000))


def test_crowded_neighbours_do_not_hide_a_millisecond_from_inclusive_bounds() -> None:
    values = {"group": ["DELIVERED", "REJECTED", "EXPIRED", "UNDELIVERABLE"], "entity_id": list("abcdef")}
    messages = [
        message._replace(message_id=f"{offset_ms}-{message.message_id}")
        for offset_ms in (5_000, 5_001, 5_002)
        for message in crowd(30, offset_ms, **values)
    ]
    reading = reader(messages, Quirks(since_inclusive=True, until_inclusive=True, cursor="ignored"))
    reading.learnt.values.entity_ids.update(dict.fromkeys("abcdef"))
    reading.read(span(0, 10_000))
    check(reading, messages, span(0, 10_000))
    assert all(read.whole for read in reading.reads)


def test_a_server_that_ignores_the_bounds_is_not_asked_for_ever() -> None:
    page = decode_page(
        SimulatedLog(World(messages=sent_at(*range(0, 20_000, 10))), Quirks())
        .answer({"limit": str(LIMIT)}, NOW_MS)
        .body
    )
    dialogue = walk(span(30_000, 40_000), Learnt(), LIMIT)
    dialogue.send(None)
    with pytest.raises(BoundsIgnored):
        dialogue.send(Reply(page, NOW_MS))
