"""The country of a number."""

import pytest

from infobip_exporter.model.country import country_of


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("66855538125", "TH"),
        ("+4915112345678", "DE"),
        ("14155550100", "US"),
        ("14165550100", "CA"),
        ("12425551234", "BS"),
        ("79161234567", "RU"),
        ("77011234567", "KZ"),
        ("447700900123", "GB"),
        ("447797712345", "JE"),
        ("390669812345", "VA"),
        ("390612345678", "IT"),
        (" 3361234567 ", "FR"),
        ("80012345678", ""),  # free of charge in many countries
        ("99912345678", ""),
        ("12345", ""),  # a short number
        ("1784140000000000001", ""),  # an id of a chat channel
        ("user@example.com", ""),
        ("٤٤٧٧٠٠٩٠٠١٢٣", ""),
        ("", ""),
    ],
)
def test_the_country_of_a_number(number: str, country: str) -> None:
    assert country_of(number) == country
