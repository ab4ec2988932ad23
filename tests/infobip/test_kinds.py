from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.kinds import MOST_PARTS, Group, Platform, Price, kind_of, normalised
from infobip_exporter.model.record import Kind


def kind(price: Decimal | None = Decimal("0.15"), count: int | None = 1, status: str = "DELIVERED") -> Kind:
    error = Group("OK", "NO_ERROR", permanent=False)
    made = kind_of(Group(status, "NAME"), error, Price(price, "EUR"), Platform("entity", "app"), count)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ok", "OK"),
        ("Client errors", "CLIENT_ERRORS"),
        ("client-errors", "CLIENT_ERRORS"),
        ("  Provider -- errors! ", "PROVIDER_ERRORS"),
        ("USER_ERRORS", "USER_ERRORS"),
        ("__x__y__", "X_Y"),
        ("Größe 2", "GRÖSSE_2"),
        ("", ""),
        ("--", ""),
    ],
)
def test_names_are_upper_case_with_single_underscores(name: str, expected: str) -> None:
    assert normalised(name) == expected


def test_a_status_nobody_has_heard_of_is_an_ordinary_final_value() -> None:
    made = kind(status="Teleported away")
    assert made.general_status == "TELEPORTED_AWAY"
    assert made.final


@pytest.mark.parametrize("status", [None, "", " ", "-_-"])
def test_a_status_without_a_name_has_no_kind(status: str | None) -> None:
    assert kind_of(Group(status), Group(), Price(), Platform(), None) is None


def test_what_is_missing_is_empty_and_has_no_cost() -> None:
    made = kind_of(Group("PENDING"), Group(), Price(), Platform(), None)
    assert made == Kind("PENDING", "", "", "", "", "", "", "", None, 1)


@pytest.mark.parametrize(("permanent", "text"), [(True, "true"), (False, "false"), (None, "")])
def test_why_a_message_failed_is_kept_by_the_names_of_the_api(permanent: bool | None, text: str) -> None:
    status = Group("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS")
    error = Group("USER_ERRORS", "EC_ABSENT_SUBSCRIBER", permanent)
    made = kind_of(status, error, Price(), Platform(), None)
    assert made is not None
    assert (made.status, made.error) == ("REJECTED_NOT_ENOUGH_CREDITS", "EC_ABSENT_SUBSCRIBER")
    assert made.permanent == text


@pytest.mark.parametrize(
    ("count", "parts"),
    [(None, 1), (0, 0), (1, 1), (7, 7), (-1, 1), (MOST_PARTS, MOST_PARTS), (MOST_PARTS + 1, 1), (10**30, 1)],
)
def test_a_count_that_is_none_counts_one_part(count: int | None, parts: int) -> None:
    assert kind(count=count).parts == parts


@pytest.mark.parametrize(
    "price",
    [
        Decimal(price)
        for price in (
            "0",
            "-0",
            "-0.1",
            "NaN",
            "sNaN",
            "-NaN",
            "Infinity",
            "1e400",
            "1e-400",
            "1e16",
            "1e-51",
        )
    ],
)
def test_a_price_that_is_none_costs_nothing_and_keeps_its_currency(price: Decimal) -> None:
    made = kind(price)
    assert made.cost == 0
    assert made.currency == "EUR"


def test_a_row_without_a_price_has_no_cost_yet() -> None:
    assert kind(None).cost is None


@pytest.mark.parametrize("price", ["9999999999999999", "1e15", "1e-50"])
def test_the_widest_prices_count(price: str) -> None:
    assert kind(Decimal(price)).cost == Decimal(price)


def test_the_longest_price_of_the_most_parts_is_exact() -> None:
    price = Decimal("9" * 16 + "." + "9" * 50)
    assert Fraction(kind(price, MOST_PARTS).cost or 0) == Fraction(price) * MOST_PARTS


@given(
    st.decimals(min_value=0, max_value=Decimal(10) ** 16 - 1, places=50, allow_nan=False),
    st.integers(min_value=0, max_value=MOST_PARTS),
    st.integers(min_value=1, max_value=5),
)
def test_cost_is_exact_whatever_the_context_in_use(price: Decimal, parts: int, precision: int) -> None:
    with localcontext(prec=precision):
        cost = kind(price, parts).cost
    assert cost is not None
    assert Fraction(cost) == Fraction(price) * parts
