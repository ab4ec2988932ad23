"""Whatever the API answers is a page that the rest can rely on, or an InvalidBody that shows nothing of it."""

import json
import sys
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infobip_exporter.infobip.answer import InvalidBody, decode_page
from infobip_exporter.infobip.headers import LONGEST_WAIT_S, date_ms, retry_after_s
from infobip_exporter.infobip.kinds import Group, Platform, Price, kind_of
from infobip_exporter.infobip.lenient import parse_json, read_row
from infobip_exporter.infobip.moments import moment_ms
from infobip_exporter.infobip.refusal import LONGEST_TEXT, describe_refusal, log_hint
from infobip_exporter.model.record import Page, Record, RejectedRow
from tests.fuzz.effort import fuzzed
from tests.fuzz.json_text import bodies, moment_texts, nested, pages, rows
from tests.fuzz.sound import check_page, check_record

SECRET = "0123456789abcdef-SECRET"
ROW = (
    '{"messageId": "a", "sentAt": "2023-02-01T23:15:03.379+0000", "status": {"groupName": "PENDING"}, '
    '"price": {"pricePerMessage": 0.15, "currency": "EUR"}}'
)
ERRORS = {
    "the answer is empty",
    "the answer is HTML or XML, not JSON",
    "the answer is not whole JSON",
    "the answer is JSON without a list of results",
    "the answer has more than 5000 rows, 1000 were asked for",
}


def check_told(error: InvalidBody) -> None:
    assert str(error) in ERRORS


def page_of(body: bytes) -> Page | None:
    """The page, checked; None where the body holds none."""
    try:
        page = decode_page(body)
    except InvalidBody as error:
        check_told(error)
        return None
    check_page(page)
    return page


@given(bodies)
@fuzzed(800)
def test_any_body_is_a_sound_page_or_invalid(body: bytes) -> None:
    page_of(body)


@given(st.binary(max_size=200))
@fuzzed(300)
def test_any_bytes_are_a_sound_page_or_invalid(body: bytes) -> None:
    page_of(body)
    page_of(b'{"results": [' + body + b"]}")
    page_of(b'{"results": [' + ROW.encode()[:-1] + b', "x": ' + body + b"}]}")


@given(pages)
@fuzzed(300)
def test_a_page_reads_the_same_each_time(text: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    assert page_of(body) == page_of(body)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
@pytest.mark.parametrize("also", ["", ', "y": NaN'], ids=["", "read as a whole"])
def test_no_depth_of_nesting_falls_between_reading_and_telling_apart(opened: str, also: str) -> None:
    """A row that can just be read may be too deep for what looks at it next."""
    closed = "]" if opened == "[" else "}"
    limit = sys.getrecursionlimit()
    for depth in (10, *range(limit - 120, limit + 5)):
        row = '{"x": ' + opened * depth + "1" + closed * depth + also + "}"
        page_of(f'{{"results": [{ROW}, {row}]}}'.encode())


@given(nested, st.sampled_from(["messageId", "sentAt", "status", "error", "price", "platform", "content"]))
@fuzzed(150)
def test_no_depth_anywhere_breaks_a_page(value: str, name: str) -> None:
    page_of(f'{{"results": [{ROW[:-1]}, "{name}": {value}}}]}}'.encode())
    page_of(f'{{"results": [], "cursor": {value}}}'.encode())
    page_of(f'{{"results": [{value}], "other": {value}}}'.encode())


@given(rows)
@fuzzed(400)
def test_a_row_counts_the_same_alone_and_among_others(text: str) -> None:
    alone = page_of(f'{{"results": [{text}]}}'.encode("utf-8", "surrogatepass"))
    among = page_of(f'{{"results": [{ROW}, {text}, {ROW}]}}'.encode("utf-8", "surrogatepass"))
    assert (alone is None) == (among is None)
    if alone and among:
        assert among.records == [decode_page(f'{{"results": [{ROW}]}}'.encode()).records[0]] * 2 or (
            among.records[1:-1] == alone.records
        )
        assert among.rejected == alone.rejected


@given(rows)
@fuzzed(500)
def test_both_ways_of_reading_agree_on_any_row(text: str) -> None:
    body = f'{{"results": [{text}]}}'.encode("utf-8", "surrogatepass")
    page = page_of(body)
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
        lenient = read_row(value)
    except ValueError:
        return
    assert page is not None
    assert [*page.records, *page.rejected] == [lenient]


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]))
)
untyped = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(untyped)
@fuzzed(300)
def test_a_row_of_any_value_is_a_record_or_rejected(value: Any) -> None:
    row = read_row(parse_json(json.dumps(value).encode()))
    if isinstance(row, Record):
        check_record(row)
    else:
        assert isinstance(row, RejectedRow)


texts = st.none() | st.text(st.characters(codec="utf-8"))
prices = (
    st.decimals(allow_nan=True, allow_infinity=True)
    | st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent),
        st.integers(0, 10**60),
        st.integers(-90, 40),
    )
    | st.sampled_from([Decimal("1E+999999"), Decimal("1E-999999"), Decimal("-0"), Decimal("0E+999999")])
)


groups = st.builds(Group, texts, texts, st.none() | st.booleans())


@given(
    groups,
    groups,
    st.builds(Price, st.none() | prices, texts),
    st.builds(Platform, texts, texts),
    st.none() | st.integers(),
)
@example(Group("A"), Group(), Price(Decimal("9999999999999999." + "9" * 50)), Platform(), 2**31)
@fuzzed(400)
def test_what_a_message_costs_is_exact_or_nothing(
    status: Group, error: Group, paid: Price, platform: Platform, count: int | None
) -> None:
    kind = kind_of(status, error, paid, platform, count)
    if kind is None:
        return
    check_record(Record("a", 0, None, kind, ""))
    price = paid.price_per_message
    assert (kind.cost is None) == (price is None)
    if kind.cost:
        assert price is not None
        parts = count if count is not None and 0 <= count <= 2**31 else 1
        assert Fraction(kind.cost) == Fraction(price) * parts


# --- moments ---

OFFSETS = [
    "Z",
    "+0000",
    "+00:00",
    "-0000",
    "+01",
    "-03",
    "+0530",
    "+05:45",
    "-12:00",
    "+14:00",
    "+23:59",
    "-23:59",
]


def offset_minutes(text: str) -> int:
    digits = text[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return 0 if text == "Z" else -minutes if text[0] == "-" else minutes


@given(
    st.dates(),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.text("0123456789", max_size=12),
    st.sampled_from(OFFSETS),
)
@example(date(1, 1, 1), 0, 0, 0, "", "+0530")
@example(date(9999, 12, 31), 23, 59, 59, "999999999", "-03")
@fuzzed(500)
def test_every_form_of_a_time_is_the_moment_it_names(
    day: date, hour: int, minute: int, second: int, fraction: str, offset: str
) -> None:
    text = (
        f"{day.isoformat()}T{hour:02d}:{minute:02d}:{second:02d}{'.' if fraction else ''}{fraction}{offset}"
    )
    days = day.toordinal() - date(1970, 1, 1).toordinal()
    seconds = days * 86_400 + hour * 3600 + (minute - offset_minutes(offset)) * 60 + second
    expected = seconds * 1000 + int(fraction.ljust(3, "0")[:3])
    first, last = -62_135_596_800_000, 253_402_300_799_999
    assert moment_ms(text) == (expected if first <= expected <= last else None)


@given(moment_texts | st.text(max_size=40))
@fuzzed(500)
def test_any_text_is_a_moment_in_range_or_none(text: str) -> None:
    ms = moment_ms(text)
    if ms is not None:
        assert -62_135_596_800_000 <= ms <= 253_402_300_799_999


# --- what comes along with an answer ---

header_texts = st.text(st.characters(codec="latin-1"), max_size=40) | st.sampled_from(
    [
        "Wed, 01 Feb 2023 23:15:03 GMT",
        "Wed, 01 Feb 2023 23:15:03 -0000",
        "Wed, 01 Feb 0000 23:15:03 GMT",
        "Wed, 01 Feb 9999 23:15:03 -2359",
        "Wed, 01 Feb 2023 23:15:03 +99999999999999999999",
        "Wed, 01 Feb 99999999999 23:15:03 GMT",
        "1e5",
        "9" * 400,
        "-5",
        "0.5",
        "1.",
        "inf",
        "nan",
        "٣",
        "5 ",
        "0x10",
    ]
)


@given(header_texts, header_texts, st.floats(0, 4e9))
@fuzzed(400)
def test_any_headers_are_understood_or_passed_over(date_text: str, wait_text: str, wall_s: float) -> None:
    headers = {"date": date_text, "retry-after": wait_text}
    moment = date_ms(headers)
    assert moment is None or (type(moment) is int and moment % 1000 == 0)
    wait_s = retry_after_s(headers, wall_s)
    assert wait_s is None or 0 <= wait_s <= LONGEST_WAIT_S


refusals = st.one_of(
    st.binary(max_size=300),
    bodies,
    st.text().map(lambda text: f"<html><title>{text} {SECRET}</title>".encode("utf-8", "replace")),
    st.builds(
        lambda form, text: (form % json.dumps(text + SECRET)).encode(),
        st.sampled_from(
            [
                '{"requestError": {"serviceException": {"messageId": "E", "text": %s}}}',
                '{"requestError": {"policyException": {"text": %s}}}',
                '{"errorCode": "E400", "description": %s, "action": "a"}',
                '{"errorCode": %s}',
                "%s",
            ]
        ),
        st.text(max_size=400),
    ),
)


@given(st.integers(100, 999), refusals)
@fuzzed(400)
def test_any_refusal_is_told_in_one_short_line_without_a_secret(status: int, body: bytes) -> None:
    line = describe_refusal(status, body, log_hint(status, "sms", "no"), (SECRET,))
    assert 0 < len(line) <= LONGEST_TEXT
    assert line.isprintable()
    assert SECRET not in line


def test_a_body_of_any_coding_but_utf_8_makes_up_no_message() -> None:
    for coding in ("utf-16", "utf-32", "utf-16-le", "cp037"):
        with suppress(InvalidBody):
            assert decode_page(f'{{"results": [{ROW}]}}'.encode(coding)).records == []
