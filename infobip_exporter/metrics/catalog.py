"""Every metric family: its name, type, help and labels. The contract with users; docs and dashboards use these names.

The labels `account` and `channel` come first in every family but the last five and are not repeated here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from infobip_exporter.model.labels import LABELS
from infobip_exporter.model.series import Series


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    """Those that it always has,"""
    chosen: Literal["", "sent", "settled", "entity", "durations"] = ""
    """and which of the chosen ones: those of metrics.labels that are known when a message is sent, or all, now that it
    has settled; entity_id alone; or metrics.duration_labels."""
    buckets: tuple[float, ...] = ()
    """Upper bounds in seconds of a histogram's buckets, without +Inf."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The labels that are chosen in the configuration."""

    labels: tuple[str, ...] = ("entity_id", "application_id")
    duration_labels: tuple[str, ...] = ()

    @property
    def sent(self) -> tuple[str, ...]:
        """Those of `labels` that are known when a message is sent."""
        return tuple(name for name in self.labels if LABELS[name].sent)


DEFAULT = Choice()
"""The labels of a configuration that chooses none."""


@lru_cache(maxsize=1024)
def labels_of(family: Family, choice: Choice = DEFAULT) -> tuple[str, ...]:
    """The labels of a family, in the order of the label table."""
    chosen: Mapping[str, tuple[str, ...]] = {
        "sent": choice.sent,
        "settled": choice.labels,
        "entity": tuple(name for name in choice.labels if name == "entity_id"),
        "durations": choice.duration_labels,
    }
    if not family.chosen:
        return family.labels
    names = {*family.labels, *chosen[family.chosen]}
    return tuple(name for name in LABELS if name in names)


def series_of(family: Family, values: Mapping[str, str]) -> Series:
    """The series of messages with these values of labels.

    It is the same whichever labels are chosen, as long as its values are.
    """
    return Series.of(family.name, **{name: values[name] for name in LABELS if name in values})


SENT = Family(
    "infobip_messages_sent_total",
    "counter",
    "Messages seen in the log, each once.",
    chosen="sent",
)
MESSAGES = Family(
    "infobip_messages_total",
    "counter",
    "Messages that reached a final status, each once.",
    ("general_status", "error_group"),
    chosen="settled",
)
FAILURES = Family(
    "infobip_message_failures_total",
    "counter",
    "Messages that settled as anything but DELIVERED, by the names of status and error.",
    ("general_status", "status", "error", "permanent"),
    chosen="entity",
)
UNRESOLVED = Family(
    "infobip_messages_unresolved_total",
    "counter",
    "Messages that left the 48 h log without a final status, by the last status seen.",
    ("general_status",),
    chosen="sent",
)
IN_FLIGHT = Family(
    "infobip_messages_in_flight",
    "gauge",
    "Messages seen that have no final status yet.",
    ("general_status",),
    chosen="sent",
)
PARTS = Family(
    "infobip_message_parts_total",
    "counter",
    "Sum of messageCount, added when a message settles.",
    ("general_status",),
    chosen="settled",
)
COST = Family(
    "infobip_cost_total",
    "counter",
    "Cost by price list, pricePerMessage x messageCount, added when a message settles. Not the invoice.",
    ("currency", "general_status"),
    chosen="settled",
)
DELIVERY_DURATION = Family(
    "infobip_delivery_duration_seconds",
    "histogram",
    "Time from sentAt to doneAt of settled messages.",
    ("general_status",),
    chosen="durations",
    buckets=(
        0.5,
        1,
        2,
        5,
        10,
        20,
        30,
        60,
        120,
        300,
        600,
        1800,
        3600,
        7200,
        14400,
        28800,
        57600,
        86400,
        172800,
    ),
)
OLDEST_IN_FLIGHT = Family(
    "infobip_oldest_in_flight_timestamp_seconds", "gauge", "sentAt of the oldest message in flight."
)
LAST_SENT = Family(
    "infobip_last_message_sent_timestamp_seconds", "gauge", "sentAt of the newest message seen."
)
UP = Family("infobip_up", "gauge", "1 if the last poll read the newest part of the log, else 0.")
LAST_SUCCESS = Family(
    "infobip_exporter_last_success_timestamp_seconds", "gauge", "Time of the last successful poll."
)
LAG = Family("infobip_exporter_lag_seconds", "gauge", "Age of the oldest sent time not yet read.")
BACKLOG = Family("infobip_exporter_backlog_seconds", "gauge", "Sent time not yet read.")
LOST = Family(
    "infobip_exporter_lost_seconds_total",
    "counter",
    "Sent time whose messages may be missing: it left the log unread (expired), can't be read whole (too_dense), or"
    " was repeated by the API's clock (clock_set_back).",
    ("reason",),
)
FINAL_AGE = Family(
    "infobip_exporter_final_age_seconds",
    "gauge",
    "Age up to which records may turn up late and are still counted.",
)
AUDIT = Family(
    "infobip_exporter_audit_messages_total",
    "counter",
    "Messages read again: verified, recovered (missed by earlier reads, counted now), missed (in the log, never"
    " counted), vanished (counted, no longer in the log).",
    ("result",),
)
AUDIT_VERIFIED = Family(
    "infobip_exporter_audit_verified_timestamp_seconds",
    "gauge",
    "Sent time up to which every message has been verified by a second read.",
)
FRESHNESS = Family(
    "infobip_exporter_freshness_seconds",
    "histogram",
    "Time from a message being sent, or settled, to the commit that counted it. Backlogs do not count.",
    ("of",),
    buckets=(5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800, 3600, 14400, 43200),
)
FEED_INFO = Family("infobip_exporter_feed_info", "gauge", "Configured feeds, always 1.")
REQUESTS = Family(
    "infobip_exporter_api_requests_total",
    "counter",
    "Requests to the API by HTTP status, or timeout, connection, invalid_body.",
    ("code",),
)
REQUEST_DURATION = Family(
    "infobip_exporter_api_request_duration_seconds",
    "histogram",
    "Duration of requests to the API.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REQUEST_LIMIT = Family(
    "infobip_exporter_api_requests_per_minute_limit",
    "gauge",
    "Requests a minute that the exporter allows itself at present.",
)
REJECTED = Family(
    "infobip_exporter_records_rejected_total",
    "counter",
    "Rows of the log that can't be counted, each once.",
    ("reason",),
)
DURATIONS_REJECTED = Family(
    "infobip_exporter_durations_rejected_total",
    "counter",
    "Settled messages left out of infobip_delivery_duration_seconds: doneAt is before sentAt, or over 49 h after it.",
)
CHANGED_AFTER_FINAL = Family(
    "infobip_exporter_status_changes_after_final_total",
    "counter",
    "Final statuses that changed later; the first one stays counted.",
    ("from", "to"),
)
OVERFLOW = Family(
    "infobip_exporter_label_overflow_total",
    "counter",
    "Messages counted under __other__ because of metrics.max_label_values or metrics.max_series.",
    ("label",),
)
CLOCK_SKEW = Family(
    "infobip_exporter_clock_skew_seconds", "gauge", "The API's clock (Date header) less the exporter's."
)
FEEDS = Family(
    "infobip_exporter_feeds",
    "gauge",
    "Configured feeds that this replica owns, and that it stands by for.",
    ("state",),
)
LOG_LINES_DROPPED = Family(
    "infobip_exporter_log_lines_dropped_total", "counter", "Log lines that could not be written."
)
RELOAD_SUCCESSFUL = Family(
    "infobip_exporter_config_last_reload_successful",
    "gauge",
    "1 if the configuration was read well the last time, else 0.",
)
RELOAD_SUCCESS = Family(
    "infobip_exporter_config_last_reload_success_timestamp_seconds",
    "gauge",
    "When the configuration was last read well.",
)
BUILD_INFO = Family(
    "infobip_exporter_build_info", "gauge", "Build information, always 1.", ("version", "python_version")
)

FAMILIES = (
    SENT, MESSAGES, FAILURES, UNRESOLVED, IN_FLIGHT, PARTS, COST, DELIVERY_DURATION, OLDEST_IN_FLIGHT, LAST_SENT, UP,
    LAST_SUCCESS, LAG, BACKLOG, LOST, FINAL_AGE, AUDIT, AUDIT_VERIFIED, FRESHNESS, FEED_INFO, REQUESTS,
    REQUEST_DURATION, REQUEST_LIMIT, REJECTED, DURATIONS_REJECTED, CHANGED_AFTER_FINAL, OVERFLOW, CLOCK_SKEW,
    FEEDS, LOG_LINES_DROPPED, RELOAD_SUCCESSFUL, RELOAD_SUCCESS, BUILD_INFO,
)  # fmt: skip
