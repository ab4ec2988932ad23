"""From a row's raw fields to the `Kind` under which it counts: names in one spelling, cost exact."""

import re
from decimal import Context, Decimal
from functools import lru_cache
from typing import Annotated

import msgspec

from infobip_exporter.infobip.on_request import Values
from infobip_exporter.model.record import Kind

MOST_PARTS = 2**31
"""A messageCount above this is no count of parts."""

_HIGHEST_PRICE_EXPONENT = 15
_LOWEST_PRICE_EXPONENT = -50
_EXACT = Context(prec=100)
"""Holds every product exactly: a price has at most 16 + 50 digits, MOST_PARTS has 10."""
_NO_COST = Decimal(0)
_BETWEEN_WORDS = re.compile(r"[\W_]+")


LONGEST_ID = 256
"""Characters of messageId, sender, entityId and applicationId. They are kept, and shown with every scrape."""

LONGEST_NAME = 128
"""Characters of the names of statuses and errors, and of a currency."""

Id = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]
Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]


# What of a row decides its kind. gc=False: none of these can be part of a cycle, and a page holds thousands of them.
class Group(msgspec.Struct, rename="camel", gc=False):
    """A status, or an error."""

    group_name: Name | None = None
    name: Name | None = None
    permanent: bool | None = None


class Price(msgspec.Struct, rename="camel", gc=False):
    price_per_message: Decimal | None = None
    currency: Name | None = None


class Platform(msgspec.Struct, rename="camel", gc=False):
    entity_id: Id | None = None
    application_id: Id | None = None


def kind_of(
    status: Group, error: Group, price: Price, platform: Platform, count: int | None, on_request: Values = ()
) -> Kind | None:
    """The kind of a row with these values, or None where the status names no group.

    A message count that is missing, negative or absurd counts one part; 0 stays 0. A price that is negative, not finite
    or absurd costs nothing; a row without a price has no cost.
    """
    general_status = normalised(status.group_name or "")
    if not general_status:
        return None
    parts = count if count is not None and 0 <= count <= MOST_PARTS else 1
    amount = price.price_per_message
    return Kind(
        general_status=general_status,
        error_group=normalised(error.group_name or ""),
        status=normalised(status.name or ""),
        error=normalised(error.name or ""),
        permanent="" if error.permanent is None else str(error.permanent).lower(),
        entity_id=platform.entity_id or "",
        application_id=platform.application_id or "",
        currency=price.currency or "",
        cost=None if amount is None else _cost(amount, parts),
        parts=parts,
        on_request=on_request,
    )


@lru_cache(maxsize=4096)
def normalised(name: str) -> str:
    """`name` in upper case with underscores: `Client errors` and `client-errors` are CLIENT_ERRORS."""
    return _BETWEEN_WORDS.sub("_", name.upper()).strip("_")


def _cost(price: Decimal, parts: int) -> Decimal:
    exponent = price.as_tuple().exponent
    if not isinstance(exponent, int):  # infinities and NaNs have a letter there
        return _NO_COST
    if price <= 0 or price.adjusted() > _HIGHEST_PRICE_EXPONENT or exponent < _LOWEST_PRICE_EXPONENT:
        return _NO_COST
    return _EXACT.multiply(price, Decimal(parts))
