"""The label table: what a label of a message is, in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from infobip_exporter.model.record import Kind

OTHER = "__other__"
"""The value that stands for all values beyond the cap."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label whose values come from the log.

    `read` takes its value from a record's kind. A label that is known when a message is `sent` stays as it was first
    seen; the others are those of the record that shows the message settled. Of a `capped` label at most
    metrics.max_label_values values are shown, the rest counts under `__other__`.
    """

    name: str
    read: Callable[[Kind], str]
    sent: bool = False
    capped: bool = True


LABELS: tuple[Label, ...] = (
    Label("general_status", attrgetter("general_status")),
    Label("error_group", attrgetter("error_group")),
    Label("status", attrgetter("status")),
    Label("error", attrgetter("error")),
    Label("permanent", attrgetter("permanent"), capped=False),
    Label("currency", attrgetter("currency")),
    Label("entity_id", attrgetter("entity_id"), sent=True),
    Label("application_id", attrgetter("application_id"), sent=True),
)
BY_NAME = {label.name: label for label in LABELS}
SENT_LABELS = tuple(label for label in LABELS if label.sent)
CAPPED = frozenset(label.name for label in LABELS if label.capped)
