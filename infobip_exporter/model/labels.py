"""The label table: what a label of a message is, in one place.

Decoding, counting, the ledger's keys, the caps, `state`, the metrics page and the simulation's oracle follow from it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infobip_exporter.model.channels import BY_PHONE_NUMBER, NETWORK_CHANNELS
from infobip_exporter.model.country import country_of
from infobip_exporter.model.record import Kind

OTHER = "__other__"
"""The value that stands for all values beyond the cap."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label whose values come from the log.

    A label that is known when a message is `sent` stays as it was first seen; the others are those of the record that
    shows the message settled. `optional` ones may be chosen in metrics.labels. Of a `capped` label at most
    metrics.max_label_values values are shown, the rest counts under `__other__`.

    `path` is where a row has the value, for a label that is read only where it is chosen; `value` makes the label's
    value of the row's. Without a path it is the field of `Kind` that is called like the label. `channels` are those
    whose rows have it; elsewhere it is empty.
    """

    name: str
    path: tuple[str, ...] = ()
    value: Callable[[str], str] = str
    sent: bool = False
    optional: bool = False
    capped: bool = True
    channels: frozenset[str] | None = None

    def of(self, kind: Kind) -> str:
        """The value for a record of this kind; "" where it has none."""
        if self.path:
            return next((value for name, value in kind.on_request if name == self.name), "")
        return str(getattr(kind, self.name))


LABELS: dict[str, Label] = {
    label.name: label
    for label in (
        Label("currency"),
        Label("general_status"),
        Label("error_group"),
        Label("status", optional=True),
        Label("error", optional=True),
        Label("permanent", capped=False),
        Label("entity_id", sent=True, optional=True),
        Label("application_id", sent=True, optional=True),
        Label("sender", ("sender",), sent=True, optional=True),
        Label("campaign", ("campaignReferenceId",), sent=True, optional=True),
        Label("content_type", ("content", "type"), sent=True, optional=True),
        Label("mcc_mnc", ("mccMnc",), sent=True, optional=True, channels=NETWORK_CHANNELS),
        Label("country", ("destination",), country_of, sent=True, optional=True, channels=BY_PHONE_NUMBER),
    )
}
"""By name. A series has its labels in this order."""


def optional_labels() -> list[str]:
    """What may be chosen in metrics.labels."""
    return [name for name, label in LABELS.items() if label.optional]


def read_on_request(names: Iterable[str], channel: str) -> tuple[Label, ...]:
    """Those of the labels called `names` that are read from a channel's rows only because they are chosen."""
    labels = [LABELS[name] for name in LABELS if name in set(names)]
    return tuple(
        label for label in labels if label.path and (label.channels is None or channel in label.channels)
    )
