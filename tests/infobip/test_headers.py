import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.headers import date_ms, retry_after_s

DATE = "Wed, 01 Feb 2023 23:15:03 GMT"
DATE_S = 1_675_293_303


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
def test_the_date_is_read_in_milliseconds() -> None:
    assert date_ms({"date": DATE}) == DATE_S * 1000
    assert date_ms({"date": "Wed, 01 Feb 2023 23:15:03 -0000"}) == DATE_S * 1000


@pytest.mark.parametrize(
    "text", ["", "today", "Wed, 99 Feb 2023 23:15:03 GMT", "1", "Wed, 01 Feb 99999999 1:1:1 GMT"]
)
def test_a_date_that_is_none_is_none(text: str) -> None:
    assert date_ms({"date": text}) is None
    assert date_ms({}) is None


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("3600", 3600.0),
        ("999999", 3600.0),
        ("Wed, 01 Feb 2023 23:15:33 GMT", 30.0),
        ("Wed, 01 Feb 2023 23:00:00 GMT", 0.0),
        ("Fri, 03 Feb 2023 23:00:00 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_answers_own_clock(text: str, wait_s: float | None) -> None:
    assert retry_after_s({"retry-after": text, "date": DATE}, wall_s=0.0) == wait_s


def test_without_a_date_our_clock_is_compared() -> None:
    assert retry_after_s({"retry-after": DATE}, wall_s=DATE_S - 12.0) == 12.0


def test_no_retry_after_is_none() -> None:
    assert retry_after_s({}, wall_s=0.0) is None


@given(st.text(), st.text())
def test_no_header_raises(date: str, retry_after: str) -> None:
    date_ms({"date": date})
    retry_after_s({"date": date, "retry-after": retry_after}, 0.0)
