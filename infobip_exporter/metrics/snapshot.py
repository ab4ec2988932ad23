"""What a feed shows at one moment: immutable values, consistent with each other, swapped whole after each commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from infobip_exporter.model.series import Histogram, Series


@dataclass(frozen=True, slots=True)
class Incident:
    """Why a feed can't go on at the moment, in words for a person. `since_s` is wall-clock time.

    `refused` is whether the API turned the key away (401, 403): someone has to do something about it.
    """

    text: str
    since_s: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PastIncident:
    """An incident that is over: what it said last, when it began and when it ended (wall clock, seconds)."""

    text: str
    since_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How the last reading of the configuration went, and when one last went well (wall clock, seconds)."""

    successful: bool
    success_s: float


@dataclass(frozen=True, slots=True)
class FeedOwner:
    """Who runs a feed, as the database lists it. `replica` is empty where nobody does.

    `heard_s` is how long ago its owner has renewed the lease, `behind_s` the age of the oldest sent time not yet read.
    """

    account: str
    channel: str
    replica: str
    is_own: bool
    heard_s: float | None
    behind_s: float | None


@dataclass(frozen=True, slots=True)
class FeedSnapshot:
    """Everything that a scrape or the status page says of a feed. Moments ending in `_ms` are the API's clock.

    `up` is None until the first poll has ended. `read_up_to_ms` is the moment up to which everything has been read.
    """

    account: str
    channel: str
    counters: Mapping[Series, int | Decimal] = field(default_factory=dict)
    histograms: Mapping[Series, Histogram] = field(default_factory=dict)
    in_flight: Mapping[Series, int] = field(default_factory=dict)
    oldest_in_flight_ms: int | None = None
    last_sent_ms: int | None = None
    up: bool | None = None
    last_poll_s: float | None = None
    last_success_s: float | None = None
    read_up_to_ms: int | None = None
    backlog_ms: int = 0
    requests_per_minute: float = 0.0
    requests_last_minute: int = 0
    clock_skew_s: float | None = None
    incident: Incident | None = None
    last_incident: PastIncident | None = None
    """The newest that is over since the start."""
    final_age_s: float | None = None
    verified_up_to_ms: int | None = None
    """Sent time up to which everything was read whole at least twice; None where the budget does not allow that."""
    by_hour: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """For the last day: hour of sending (hours since the epoch) -> general status -> messages settled."""
