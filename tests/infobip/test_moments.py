from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infobip_exporter.infobip.moments import moment_ms, moments_ms
from infobip_exporter.infobip.query import format_moment
from infobip_exporter.model.record import NO_TIME_MS

NOON_MS = 1_675_252_800_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("2023-02-01T12:00:00.000+0000", NOON_MS),
        ("2023-02-01T12:00:00.379+0000", NOON_MS + 379),
        ("2023-02-01T13:00:00.379+01:00", NOON_MS + 379),
        ("2023-02-01T09:00:00.379-0300", NOON_MS + 379),
        ("2023-02-01T17:45:00.379+0545", NOON_MS + 379),
        ("2023-02-01T12:00:00.379Z", NOON_MS + 379),
        ("2023-02-01T12:00:00Z", NOON_MS),
        ("2023-02-01T12:00:00+0000", NOON_MS),
        ("2023-02-01T12:00:00.5+0000", NOON_MS + 500),
        ("2023-02-01T12:00:00.3799999+0000", NOON_MS + 379),
        ("2023-02-01T12:00:00.379999999999Z", NOON_MS + 379),
        ("1969-12-31T23:59:59.9999+0000", -1),
        ("0001-01-01T00:00:00.000+0000", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999+0000", 253_402_300_799_999),
    ],
)
def test_a_moment_is_read_whatever_its_offset_and_fraction(text: str, expected_ms: int) -> None:
    assert moment_ms(text) == expected_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2023-02-01",
        "2023-02-01T12:00:00.379",  # no offset: nobody knows when that is
        "2023-02-30T12:00:00.379+0000",
        "2023-02-01T25:00:00.379+0000",
        "2023-02-01T12:00:00.379+9900",
        "2023-02-01T12:00:00.+12+0000",
        "2023-02-01T12:00:00. 12+0000",
        "0000-01-01T00:00:00.000+0000",
        "0001-01-01T00:00:00.000+0100",
        "9999-12-31T23:59:59.999-0100",
        "10000-01-01T00:00:00.000+0000",
        "\ud800",
        "1675252800379",
    ],
)
def test_what_names_no_moment_is_none(text: str) -> None:
    assert moment_ms(text) is None


@given(
    st.integers(min_value=-62_000_000_000_000, max_value=253_000_000_000_000),
    st.integers(min_value=-23 * 60, max_value=23 * 60),
    st.booleans(),
)
def test_the_same_moment_in_any_zone_is_the_same(ms: int, offset_minutes: int, colon: bool) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    local = moment.astimezone(timezone(timedelta(minutes=offset_minutes)))
    text = local.isoformat(timespec="milliseconds")
    assert moment_ms(text if colon else text[:-3] + text[-2:]) == ms


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_what_is_asked_is_read_back(ms: int) -> None:
    assert moment_ms(format_moment(ms)) == ms


@given(st.text())
def test_no_text_raises(text: str) -> None:
    moment_ms(text)


WRITTEN = st.from_regex(
    r"[0-2]\d{3}-[01]\d-[0-3]\d[T ][0-2]\d:[0-5]\d:[0-6]\d\.\d{3}(\+0000|\+0100|Z)", fullmatch=True
)


@given(
    st.lists(
        WRITTEN | st.datetimes().map(lambda at: f"{at:%Y-%m-%dT%H:%M:%S}.007+0000") | st.text(max_size=28)
    )
)
@example(["2026-02-30T00:00:00.000+0000"])
@example(["0000-01-01T00:00:00.000+0000", "2026-01-01T00:00:00.000+0000"])
def test_many_moments_are_read_as_each_of_them(texts: list[str]) -> None:
    moments = [None if ms == NO_TIME_MS else ms for ms in moments_ms(texts).tolist()]
    assert moments == [moment_ms(text) for text in texts]
