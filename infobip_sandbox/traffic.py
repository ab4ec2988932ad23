"""What the traffic of a simulated account looks like: how much, when, for whom, at what price, with what outcome."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from infobip_sandbox import statuses
from infobip_sandbox.statuses import Error, Status

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

MESSAGES_IN_A_CHUNK = 400
"""About how many messages a chunk of traffic should hold: few enough to make at once, enough to be worth it."""


class Platform(NamedTuple):
    """Who sends: "" for an entity or an application that a record does not have."""

    entity_id: str
    application_id: str
    sender: str
    weight: float


class Tariff(NamedTuple):
    price: Decimal
    currency: str
    weight: float


class Network(NamedTuple):
    """Where messages go: how numbers begin there, and the network as `mccMnc` has it."""

    prefix: str
    mcc_mnc: str


class Outcome(NamedTuple):
    """How a message ends: the statuses it is in while pending and those after, with their error."""

    name: str
    weight: float
    pending: tuple[Status, ...]
    final: tuple[Status, ...]
    error: Error
    timing: Literal["settles", "at_once", "expires"] = "settles"


class Dense(NamedTuple):
    """So many further messages that were all sent in the one millisecond `at_ms`."""

    at_ms: int
    messages: int


class Incident(NamedTuple):
    """For `length_ms` from `start_ms`, `share` of the messages of `entity_id` (None: of all) fare badly.

    `slow` messages take twenty times as long to settle. `extra_per_second` further messages are sent as long as it
    lasts. With `every_ms` it comes back that often, for ever.
    """

    start_ms: int
    length_ms: int
    kind: Literal["rejected", "undeliverable", "slow"] = "rejected"
    entity_id: str | None = None
    share: float = 0.9
    extra_per_second: float = 0.0
    every_ms: int = 0

    def active(self, at_ms: int) -> bool:
        since_start_ms = at_ms - self.start_ms
        if self.every_ms and since_start_ms >= 0:
            since_start_ms %= self.every_ms
        return 0 <= since_start_ms < self.length_ms


PLATFORMS = (
    Platform("shop-germany", "order-updates", "acme.shop.de", 30),
    Platform("shop-germany", "marketing", "acme.shop.de", 14),
    Platform("shop-france", "order-updates", "acme.shop.fr", 18),
    Platform("shop-france", "marketing", "acme.shop.fr", 8),
    Platform("bank", "one-time-codes", "acme.bank", 15),
    Platform("support", "", "acme.help", 9),
    Platform("", "", "44113496000", 6),
)
TARIFFS = (
    Tariff(Decimal("0.00787679"), "USD", 45),
    Tariff(Decimal("0.15"), "EUR", 30),
    Tariff(Decimal("0.0325"), "EUR", 18),
    Tariff(Decimal(0), "UNKNOWN", 7),
)
NETWORKS = (
    Network("49151", "26201"),
    Network("49172", "26202"),
    Network("336", "20801"),
    Network("447700", "23410"),
    Network("1415555", "310260"),
    Network("1416555", "302720"),
    Network("77011", "40101"),
)
OUTCOMES = (
    Outcome("to_handset", 780, (statuses.ENROUTE,), (statuses.TO_HANDSET,), statuses.NO_ERROR),
    Outcome(
        "by_operator", 60, (statuses.ENROUTE,), (statuses.TO_OPERATOR, statuses.TO_HANDSET), statuses.NO_ERROR
    ),
    Outcome(
        "by_stages",
        40,
        (statuses.ACCEPTED, statuses.PENDING_ACCEPTED, statuses.WAITING_DELIVERY),
        (statuses.TO_HANDSET,),
        statuses.LEGACY_NO_ERROR,
    ),
    Outcome("in_spite_of_error", 6, (statuses.ENROUTE,), (statuses.TO_HANDSET,), statuses.PROVIDER_LIMIT),
    Outcome("absent", 30, (statuses.ENROUTE,), (statuses.NOT_DELIVERED,), statuses.ABSENT),
    Outcome("unknown_user", 24, (statuses.ENROUTE,), (statuses.NOT_DELIVERED,), statuses.UNKNOWN_USER),
    Outcome("operator", 14, (statuses.ENROUTE,), (statuses.REJECTED_OPERATOR,), statuses.OPERATOR_DOWN),
    Outcome("window", 20, (), (statuses.REJECTED_NETWORK,), statuses.OUTSIDE_WINDOW, "at_once"),
    Outcome("credits", 6, (), (statuses.NOT_ENOUGH_CREDITS,), statuses.NO_ERROR, "at_once"),
    Outcome("no_report", 10, (statuses.ENROUTE,), (statuses.DLR_UNKNOWN,), statuses.OPERATOR_DOWN),
    Outcome("expires", 8, (statuses.WAITING_DELIVERY,), (statuses.EXPIRED,), statuses.ABSENT, "expires"),
    Outcome("new_group", 2, (statuses.ENROUTE,), (statuses.WITHDRAWN,), statuses.NO_ERROR),
)
REJECTED_OUTCOME = OUTCOMES[7]
UNDELIVERABLE_OUTCOME = OUTCOMES[6]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of one channel of one account. Hours are UTC; shares lie between 0 and 1.

    `per_second` is the mean over a day; `daily_swing` how far the rate goes up at `peak_hour` and down twelve hours
    later; `burstiness` the variance of the rate from chunk to chunk, relative to its mean squared; nothing is sent
    between the hours of a `dead_hours` pair. `bulk_share` of the requests send up to `bulk_size` messages at once.
    """

    per_second: float = 3.0
    daily_swing: float = 0.5
    peak_hour: float = 14.0
    burstiness: float = 0.2
    dead_hours: tuple[tuple[float, float], ...] = ()
    bulk_share: float = 0.05
    bulk_size: int = 20
    platforms: tuple[Platform, ...] = PLATFORMS
    tariffs: tuple[Tariff, ...] = TARIFFS
    outcomes: tuple[Outcome, ...] = OUTCOMES
    settle_median_s: float = 6.0
    settle_sigma: float = 1.3
    """The standard deviation of the logarithm: settling times are lognormal."""
    validities_ms: tuple[int, ...] = (DAY_MS, 2 * DAY_MS)
    """How long after sending a message expires that nobody takes. At 48 h it leaves the log in that very moment."""
    ingest_ms: int = 1500
    """Most records turn up in the log within this time of being sent."""
    late_share: float = 0.01
    late_max_ms: int = 90_000
    """The late ones turn up within this time."""
    tick_ms: int = 1
    """Sent times are whole multiples of this: above 1, many messages share a millisecond."""
    dense: tuple[Dense, ...] = ()
    incidents: tuple[Incident, ...] = ()
    price_change_share: float = 0.0
    """Messages whose price changes as they settle."""
    change_after_final_share: float = 0.0
    """Delivered messages that turn out undeliverable later."""
    without_price_share: float = 0.01
    without_error_share: float = 0.01
    without_done_share: float = 0.01
    bad_share: float = 0.0
    """Rows that lack what is needed to count them."""
    networks_told: bool = False
    """Whether rows tell the network, as those of SMS and MMS do."""

    @property
    def chunk_ms(self) -> int:
        """The length of time that is generated at once, in milliseconds: 1 s to 1 h."""
        wanted_s = MESSAGES_IN_A_CHUNK / self.per_second if self.per_second > 0 else 3600
        return next((s * 1000 for s in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1200) if s >= wanted_s), HOUR_MS)

    def rate_at(self, at_ms: int) -> float:
        """Messages per second expected at `at_ms`, bursts and incidents aside."""
        hour = at_ms % DAY_MS / HOUR_MS
        if any(begin <= hour < end for begin, end in self.dead_hours):
            return 0.0
        swing = math.cos((hour - self.peak_hour) / 24 * 2 * math.pi)
        return max(0.0, self.per_second * (1 + self.daily_swing * swing))
