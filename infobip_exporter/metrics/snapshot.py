"""What a feed shows at one moment: immutable values, consistent with each other, swapped whole after each commit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple


class Series(NamedTuple):
    """A family's name and its label values in the catalogue's order, without account and channel."""

    family: str
    labels: tuple[str, ...]


class InFlight(NamedTuple):
    """The labels of `infobip_messages_in_flight`."""

    general_status: str
    entity_id: str
    application_id: str


class Histogram(NamedTuple):
    """Observations in each bucket, not cumulated, the last one for +Inf; and their sum in seconds."""

    counts: tuple[int, ...]
    sum_s: Decimal


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a feed can't go on at the moment, in words for a person. `since_s` is wall-clock time.

    `refused` is whether the API turned the key away (401, 403): someone has to do something about it.
    """

    text: str
    since_s: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class PastTrouble:
    """A trouble that is over: what it said last, when it began and when it ended (wall clock, seconds)."""

    text: str
    since_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How the last reading of the configuration went, and when one last went well (wall clock, seconds)."""

    successful: bool
    success_s: float


@dataclass(frozen=True, slots=True)
class FeedSnapshot:
    """Everything that a scrape or the status page says of a feed. Moments ending in `_ms` are the API's clock.

    `up` is None until the first poll has ended. `read_up_to_ms` is the moment up to which everything has been read.
    """

    account: str
    channel: str
    counters: Mapping[Series, int | Decimal] = field(default_factory=dict)
    histograms: Mapping[Series, Histogram] = field(default_factory=dict)
    in_flight: Mapping[InFlight, int] = field(default_factory=dict)
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
    trouble: Trouble | None = None
    last_trouble: PastTrouble | None = None
    """The newest that is over since the start."""
    by_hour: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    """For the last day: hour of sending (hours since the epoch) -> general status -> messages settled."""
