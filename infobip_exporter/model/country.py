"""The country of a phone number."""

from functools import lru_cache

_PREFIX = 7
"""Digits that tell a country from those it shares a calling code with: Jersey is 44 7797 7, the Vatican 39 06698."""
_LONGEST = 15
"""Digits of a phone number (E.164)."""


def country_of(number: str) -> str:
    """The ISO 3166 code of the country of a number in international form; "" where there is none.

    The number itself is kept nowhere: what is remembered are beginnings of numbers.
    """
    digits = number.strip().removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or not _PREFIX <= len(digits) <= _LONGEST:
        return ""
    return _country_of_prefix(digits[:_PREFIX])


@lru_cache(maxsize=65_536)
def _country_of_prefix(digits: str) -> str:
    import phonenumbers  # noqa: PLC0415 - takes 90 ms and 3 MB, which only those pay who want countries

    codes = (int(digits[:length]) for length in (1, 2, 3))
    regions = next(filter(None, map(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get, codes)), ())
    if len(regions) > 1:
        # Which of them it is does not depend on the digits that follow, if only there are enough of them.
        for length in range(_PREFIX + 1, _LONGEST + 1):
            whole = phonenumbers.parse("+" + digits.ljust(length, "0"))
            region = phonenumbers.region_code_for_number(whole)
            if region:
                return str(region)
    return regions[0] if regions and regions[0] != "001" else ""  # 001: numbers of no country
