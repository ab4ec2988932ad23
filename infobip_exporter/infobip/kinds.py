"""From a row's raw fields to the `Kind` under which it counts: names in one spelling, cost exact."""

import re
from decimal import Context, Decimal
from functools import lru_cache
from typing import TypeAlias

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


RawKind: TypeAlias = tuple[
    str | None,
    str | None,
    str | None,
    str | None,
    bool | None,
    str | None,
    str | None,
    str | None,
    Decimal | None,
    int | None,
]
"""As the row has them: status group and name, error group and name, whether the error is permanent, entity,
application, currency, price of a part, message count."""


def kind_of(raw: RawKind, on_request: Values = ()) -> Kind | None:
    """The kind of a row with these fields, or None where the status names no group.

    A message count that is missing, negative or absurd counts one part; 0 stays 0. A price that is negative, not finite
    or absurd costs nothing; a row without a price has no cost.
    """
    status_group, status, error_group, error, permanent, entity_id, application_id, currency, price, count = (
        raw
    )
    general_status = normalised(status_group or "")
    if not general_status:
        return None
    parts = count if count is not None and 0 <= count <= MOST_PARTS else 1
    return Kind(
        general_status=general_status,
        error_group=normalised(error_group or ""),
        status=normalised(status or ""),
        error=normalised(error or ""),
        permanent="" if permanent is None else str(permanent).lower(),
        entity_id=entity_id or "",
        application_id=application_id or "",
        currency=currency or "",
        cost=None if price is None else _cost(price, parts),
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
