"""The labels a message counts under: real values up to a cap, `__other__` beyond it; and the series they make."""

from collections.abc import Iterable
from dataclasses import dataclass

from infobip_exporter.metrics import catalog
from infobip_exporter.metrics.snapshot import InFlight, Series

OTHER = "__other__"
NEED_NO_PLACE = ("", OTHER)
REMEMBER_PLACES = 50_000

LONGEST_LABEL = 1024
"""Characters of a label's value. Infobip's own names have at most 255; every scrape carries every label again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages of some status, error group, entity, application and currency count."""

    labels: InFlight
    sent: Series
    settled: Series
    parts: Series
    cost: Series
    first_overflowed: tuple[Series, ...]
    """For each label of a message seen for the first time that has no place left: its `label_overflow_total`."""
    settled_overflowed: tuple[Series, ...]
    """The same for the labels that come with settling."""


class Caps:
    """Which values each label has been given so far. Once a value has a place it keeps it, over restarts too.

    `most` is how many values a label may have, `taken` the (label, value) pairs that have a place already.
    """

    def __init__(self, most: int, taken: Iterable[tuple[str, str]] = ()) -> None:
        self._most = most
        self._taken: dict[str, set[str]] = {}
        self._places: dict[tuple[str, ...], Place] = {}
        for label, value in taken:
            if value not in NEED_NO_PLACE:
                self._taken.setdefault(label, set()).add(value)

    def admit(self, label: str, value: str) -> str:
        """`value`, or `__other__` where the label has no place left or the value is too long to be shown each scrape.

        The empty value always has a place.
        """
        taken = self._taken.setdefault(label, set())
        if value in taken or value in NEED_NO_PLACE:
            return value
        if len(taken) >= self._most or len(value) > LONGEST_LABEL:
            return OTHER
        taken.add(value)
        return value

    def place(
        self, general_status: str, error_group: str, entity_id: str, application_id: str, currency: str
    ) -> Place:
        """Where messages with these values count."""
        key = (general_status, error_group, entity_id, application_id, currency)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= REMEMBER_PLACES:
                self._places.clear()
            place = self._places[key] = self._make_place(*key)
        return place

    def _make_place(
        self, general_status: str, error_group: str, entity_id: str, application_id: str, currency: str
    ) -> Place:
        status = self.admit("general_status", general_status)
        error = self.admit("error_group", error_group)
        entity = self.admit("entity_id", entity_id)
        application = self.admit("application_id", application_id)
        money = self.admit("currency", currency)
        return Place(
            labels=InFlight(status, entity, application),
            sent=Series(catalog.SENT.name, (entity, application)),
            settled=Series(catalog.MESSAGES.name, (status, error, entity, application)),
            parts=Series(catalog.PARTS.name, (status, entity, application)),
            cost=Series(catalog.COST.name, (money, status, entity, application)),
            first_overflowed=_overflowed(entity_id=entity, application_id=application),
            settled_overflowed=_overflowed(general_status=status, error_group=error, currency=money),
        )


def _overflowed(**admitted: str) -> tuple[Series, ...]:
    return tuple(
        Series(catalog.OVERFLOW.name, (label,)) for label, value in admitted.items() if value == OTHER
    )
