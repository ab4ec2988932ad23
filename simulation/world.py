"""Worlds drawn from a seed: traffic, the API's quirks and faults, clocks, crashes and the configuration."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any

from infobip_exporter.config.schema import Config, Metrics, Poll
from infobip_exporter.metrics.catalog import Choice
from infobip_exporter.model.channels import NETWORK_CHANNELS
from infobip_exporter.model.labels import optional_labels
from infobip_sandbox import statuses
from infobip_sandbox.faults import FAULT_KINDS, Faults, Outage
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.traffic import (
    OUTCOMES,
    PLATFORMS,
    TARIFFS,
    Dense,
    Incident,
    Outcome,
    Platform,
    Tariff,
    Traffic,
)
from simulation.dates import Burst, Dates
from simulation.oddities import Lateness, Oddities
from simulation.time import ClockStep, Suspend

BEGINS_MS = 1_790_000_000_000
HOUR_S = 3600.0
LOG_KEEPS_S = 48 * HOUR_S


@dataclass(frozen=True, slots=True)
class FeedWorld:
    """What one feed meets. Moments ending in `_s` are seconds of true time from the start of the run."""

    channel: str
    traffic: Traffic
    traffic_from_ms: int
    traffic_until_ms: int
    ways: tuple[tuple[float, Quirks], ...]
    """The API's ways, and from when on it has them."""
    oddities: Oddities
    faults: Faults
    filters: Mapping[str, str]
    budget: int
    ends_s: float
    dates: Dates
    scrape_share: float
    """How likely a scraper comes along before a request and after a poll."""
    hold_s: float
    api_steps: tuple[ClockStep, ...]
    """How the API's clock is set while the world goes on."""


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    seed: int
    feeds: tuple[FeedWorld, ...]
    config: Config
    choices: tuple[Choice, ...]
    """The labels to count by: another choice each time the process starts."""
    page_limit: int
    wall_steps: tuple[ClockStep, ...]
    suspends: tuple[Suspend, ...]
    slowest_commit_s: float
    """How long a commit may take, while other tasks go on."""
    kill_every: float
    most_kills: int
    longest_down_s: float
    away_s: float
    """How long the process is down after its first kill, in place of what is drawn then. 0: not so."""
    disk_full: tuple[tuple[float, float], ...]
    statements_fail: float
    """How likely the disk fails amid a transaction."""


def draw(seed: int) -> SimulatedWorld:
    """The world of `seed`: always the same."""
    rng = Random(f"world {seed}")
    length_s = rng.choice((0.3, 0.5, 1, 1, 2, 4, 8, 40)) * HOUR_S
    # Closer polls take longer to run, and show more of what is asked for just before it leaves the log.
    polls = 30 if seed % 3 == 0 else 20
    interval_s = max(rng.choice((10, 30, 60, 60, 120, 300)), float(math.ceil(length_s / polls)))
    late_s = float(rng.choice((0, 10, 30, 120, 120, 600, 1800)))
    lookback_s = rng.choice((0.0, 0.0, rng.uniform(0, 3 * HOUR_S), rng.uniform(0, LOG_KEEPS_S), LOG_KEEPS_S))
    config = Config(
        accounts=(),
        poll=Poll(interval_s, lookback_s, late_s, rng.choice((2.0, 10.0))),
        metrics=Metrics(max_label_values=rng.choice((1000, 1000, 1000, 1, 2, 4, 8))),
    )
    page_limit = rng.choice((20, 20, 50, 100, 100, 1000))
    channels = ("instagram", "viber", "sms")[: rng.choice((1, 1, 1, 1, 1, 1, 2, 3))]
    dates = _dates(rng, length_s)
    feeds = tuple(
        _feed(Random(f"feed {seed} {channel}"), channel, config, page_limit, length_s, len(channels), dates)
        for channel in channels
    )
    restless = rng.random() < 0.6
    away, disk = Random(f"away {seed}"), Random(f"disk {seed}")
    return SimulatedWorld(
        seed=seed,
        feeds=feeds,
        config=config,
        choices=_choices(Random(f"labels {seed}")),
        page_limit=page_limit,
        # Where no answer tells the time, the exporter's clock must be right: there is nothing else to go by.
        # Wrong ones are told from right ones by it, where polls are farther apart than dates are remembered.
        wall_steps=() if not dates.told or dates.wrong_share or dates.bursts else _steps(rng, length_s),
        suspends=_suspends(rng, length_s),
        slowest_commit_s=rng.choice((0.0, 0.0, 0.005)),
        kill_every=_log_uniform(rng, 10, 3000) if restless else 0.0,
        most_kills=rng.choice((1, 3, 10, 30)),
        longest_down_s=rng.choice((1.0, 60.0, 600.0, 3 * HOUR_S)),
        away_s=away.uniform(46, 53) * HOUR_S if away.random() < 0.05 else 0.0,
        disk_full=_stretches(rng, rng.choice((0, 0, 0, 1, 2)), length_s, 5, HOUR_S),
        statements_fail=disk.uniform(0.002, 0.05) if disk.random() < 0.1 else 0.0,
    )


def _feed(
    rng: Random,
    channel: str,
    config: Config,
    page_limit: int,
    length_s: float,
    feeds: int,
    dates: Dates,
) -> FeedWorld:
    poll = config.poll
    messages = _log_uniform(rng, 12, 200) / feeds
    before_s = poll.lookback_s + 600
    ends_ms = BEGINS_MS + round(length_s * 1000)
    traffic = _traffic(rng, messages / (length_s + before_s), poll.late_arrival_s, length_s, page_limit)
    requests = 3 * messages / page_limit / (length_s / 60)
    budget = max(math.ceil(8 + 2 * requests), rng.choice((10, 30, 60, 100, 100)))
    faults = _faults(rng, length_s, budget)
    api_steps = _api_steps(rng, dates, length_s)
    filters = _filters(rng, traffic)
    scrapes = Random(f"scrapes {channel} {length_s} {messages}")
    last_outage_s = max(((outage.end_ms - BEGINS_MS) / 1000 for outage in faults.outages), default=0.0)
    return FeedWorld(
        channel=channel,
        traffic=replace(traffic, networks_told=channel in NETWORK_CHANNELS),
        traffic_from_ms=BEGINS_MS - round(before_s * 1000),
        traffic_until_ms=ends_ms,
        ways=_ways(rng, page_limit, length_s, filters),
        oddities=_oddities(rng, poll.late_arrival_s),
        faults=faults,
        filters=filters,
        budget=budget,
        # The last cell of a feed that was held up for hours ends hours after its messages.
        ends_s=max(length_s + LOG_KEEPS_S + 6 * HOUR_S + 3 * poll.interval_s, last_outage_s + 2 * HOUR_S)
        + max((-step.skew_s for step in api_steps), default=0.0),
        dates=dates,
        scrape_share=scrapes.choice((0.0, 0.02, 0.1)),
        hold_s=scrapes.choice((0.0, 60.0, 60.0, 600.0)),
        api_steps=api_steps,
    )


def _choices(rng: Random) -> tuple[Choice, ...]:
    if rng.random() < 0.5:
        return (Choice(),)
    return tuple(
        Choice(_some_labels(rng), _some_labels(rng) if rng.random() < 0.3 else ())
        for _ in range(rng.choice((1, 1, 1, 2, 3)))
    )


def _some_labels(rng: Random) -> tuple[str, ...]:
    names = optional_labels()
    return tuple(rng.sample(names, rng.choice((0, 1, 2, 3, len(names)))))


def _dates(rng: Random, length_s: float) -> Dates:
    kind = rng.choice(
        ("right",) * 6 + ("none", "some", "wrong", "burst", "burst", "servers", "servers", "offset")
    )
    kinds: dict[str, Callable[[], Dates]] = {
        "right": Dates,
        "none": lambda: Dates(missing_share=1.0),
        "some": lambda: Dates(missing_share=rng.choice((0.1, 0.3))),
        "wrong": lambda: Dates(missing_share=rng.choice((0.0, 0.1)), wrong_share=rng.choice((0.02, 0.05))),
        "burst": lambda: Dates(bursts=tuple(_burst(rng, length_s) for _ in range(rng.choice((1, 1, 2))))),
        "servers": lambda: Dates(servers=rng.choice(("turns", "random")), apart_s=rng.uniform(0.5, 10)),
        "offset": lambda: Dates(offset_s=rng.choice((-1, 1)) * _log_uniform(rng, 1, 300)),
    }
    return kinds[kind]()


def _burst(rng: Random, length_s: float) -> Burst:
    """Dates that are wrong by minutes to days, for a moment or hours."""
    ahead_s = rng.choice((-1, 1)) * _log_uniform(rng, 120, 5 * 24 * HOUR_S)
    return Burst(rng.uniform(0, length_s), round(_log_uniform(rng, 1, 200)), ahead_s)


def _suspends(rng: Random, length_s: float) -> tuple[Suspend, ...]:
    """The machine sleeps for seconds to days, also while what was sent long ago leaves the log."""
    last_s = length_s + rng.choice((0.0, LOG_KEEPS_S))
    return tuple(
        Suspend(rng.uniform(0, last_s), _log_uniform(rng, 5, rng.choice((600.0, HOUR_S, 60 * HOUR_S))))
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2)))
    )


def _oddities(rng: Random, late_arrival_s: float) -> Oddities:
    late = (
        (),
        (),
        (),
        (Lateness(0.02, late_arrival_s / 2),),
        (Lateness(0.02, 120.0), Lateness(0.02, 1800.0)),
        (Lateness(0.02, HOUR_S),),
        (Lateness(0.01, HOUR_S), Lateness(0.01, 10 * HOUR_S)),
    )
    return Oddities(
        used_again=rng.choice((0.0, 0.0, 0.05)),
        used_again_s=rng.choice((2.0, 30.0, HOUR_S, 6 * HOUR_S)),
        moved=rng.choice((0.0, 0.0, 0.0, 0.05)),
        late=rng.choice(late),
        price_later=rng.choice((0.0, 0.0, 0.1)),
        without_currency=rng.choice((0.0, 0.0, 0.1)),
        absurd_done=rng.choice((0.0, 0.0, 0.05)),
        unshowable=rng.choice((0,) * 12 + (1, 2)),
    )


def _api_steps(rng: Random, dates: Dates, length_s: float) -> tuple[ClockStep, ...]:
    """The API's clock is set forward, or back by a little; only where its answers tell the time."""
    kind = rng.choice(("", "", "", "", "", "forward", "back")) if dates.missing_share < 1 else ""
    if kind == "forward":
        return (ClockStep(rng.uniform(0, length_s), _log_uniform(rng, 1, 6 * HOUR_S)),)
    if kind == "back":
        return (ClockStep(rng.uniform(0, length_s), -_log_uniform(rng, 1, 600)),)
    return ()


def _traffic(rng: Random, per_second: float, late_s: float, length_s: float, page_limit: int) -> Traffic:
    late_ms = round(late_s * 1000)
    platforms = _platforms(rng)
    return Traffic(
        per_second=per_second,
        daily_swing=rng.choice((0.0, 0.5, 1.0)),
        burstiness=rng.choice((0.0, 0.2, 2.0)),
        dead_hours=rng.choice(((), (), ((2.0, 5.5),), ((0.0, 8.0), (12.0, 13.0)))),
        bulk_share=rng.choice((0.0, 0.05, 0.3)),
        bulk_size=rng.choice((5, 20, 100)),
        platforms=platforms,
        tariffs=_tariffs(rng),
        outcomes=_outcomes(rng),
        settle_median_s=_log_uniform(rng, 0.5, 7200),
        settle_sigma=rng.choice((0.0, 0.5, 1.3, 2.5)),
        validities_ms=rng.choice(((86_400_000, 172_800_000), (3_600_000,), (172_799_999, 172_800_001))),
        ingest_ms=min(late_ms, rng.choice((0, 1500, 20_000))),
        late_share=rng.choice((0.0, 0.01, 0.1, 1.0)),
        late_max_ms=late_ms,
        tick_ms=rng.choice((1, 1, 1, 1000, 60_000)),
        dense=_dense(rng, length_s, page_limit),
        incidents=_incidents(rng, length_s, platforms, per_second),
        price_change_share=rng.choice((0.0, 0.2)),
        change_after_final_share=rng.choice((0.0, 0.0, 0.1)),
        without_price_share=rng.choice((0.0, 0.01, 0.3)),
        without_error_share=rng.choice((0.0, 0.01, 0.3)),
        without_done_share=rng.choice((0.0, 0.01, 0.3)),
        bad_share=rng.choice((0.0, 0.0, 0.02, 0.2)),
    )


def _platforms(rng: Random) -> tuple[Platform, ...]:
    kind = rng.choice(("usual", "usual", "one", "none", "many"))
    if kind == "one":
        return PLATFORMS[:1]
    if kind == "none":
        return PLATFORMS[-1:]
    if kind == "many":
        return tuple(
            Platform(f"entity-{n % 9}", f"app-{n % 5}", f"sender-{n % 4}", rng.uniform(1, 9))
            for n in range(30)
        )
    return PLATFORMS


def _tariffs(rng: Random) -> tuple[Tariff, ...]:
    odd = (Tariff(Decimal("0.00000001"), "JPY", 10), Tariff(Decimal("12345678.12345678"), "IDR", 5))
    return rng.choice((TARIFFS, TARIFFS + odd))


def _outcomes(rng: Random) -> tuple[Outcome, ...]:
    stuck = Outcome(
        "stuck", 40, (statuses.ACCEPTED, statuses.ENROUTE), (statuses.EXPIRED,), statuses.ABSENT, "expires"
    )
    return rng.choice((OUTCOMES, OUTCOMES, (*OUTCOMES, stuck), OUTCOMES[:2]))


def _dense(rng: Random, length_s: float, page_limit: int) -> tuple[Dense, ...]:
    if page_limit > 100 or rng.random() < 0.7:
        return ()
    return tuple(
        Dense(
            BEGINS_MS + round(rng.uniform(-0.02, 1) * length_s * 1000),
            round(page_limit * rng.uniform(0.5, 3)),
        )
        for _ in range(rng.choice((1, 1, 2)))
    )


def _incidents(
    rng: Random, length_s: float, platforms: tuple[Platform, ...], per_second: float
) -> tuple[Incident, ...]:
    return tuple(
        Incident(
            start_ms=BEGINS_MS + round(rng.random() * length_s * 1000),
            length_ms=round(_log_uniform(rng, 1, length_s / 4) * 1000),
            kind=rng.choice(("rejected", "undeliverable", "slow")),
            entity_id=rng.choice((None, platforms[0].entity_id)),
            extra_per_second=rng.choice((0.0, 3 * per_second)),
        )
        for _ in range(rng.choice((0, 0, 1, 2)))
    )


def _ways(
    rng: Random, page_limit: int, length_s: float, filters: Mapping[str, str]
) -> tuple[tuple[float, Quirks], ...]:
    """The API's ways, which may change once while messages are sent."""
    first = replace(_quirks(rng, page_limit), **_broken(rng, filters))
    if rng.random() < 0.7:
        return ((0.0, first),)
    other = _quirks(rng, page_limit)
    changes = rng.sample(_WAYS, rng.choice((1, 1, 2, len(_WAYS))))
    changed = replace(first, **{name: getattr(other, name) for name in changes})
    return ((0.0, first), (rng.uniform(0, length_s), changed))


_WAYS = ("keeps", "order", "most_rows", "since_inclusive", "until_inclusive", "cursor", "ties")


def _broken(rng: Random, filters: Mapping[str, str]) -> dict[str, Any]:
    """Parameters that the API can't serve; never one that is in each request."""
    names = [
        name
        for name in ("messageId", "generalStatus", "entityId", "applicationId", "sender")
        if name not in filters
    ]
    count = rng.choice((0,) * 8 + (1, 1, 2, len(names)))
    how = rng.choice(("500", "400", "timeout", "ignored"))
    return {
        "broken": tuple(rng.sample(names, count)),
        "broken_how": how,
        "ids_heeded": rng.choice((0,) * 8 + (1, 3)),
        "microseconds": rng.random() < 0.2,
    }


def _quirks(rng: Random, caps_below: int) -> Quirks:
    shares = (0.0, 0.0, 0.05, 0.3)
    return Quirks(
        since_inclusive=rng.random() < 0.5,
        until_inclusive=rng.random() < 0.5,
        keeps=rng.choice(("newest", "newest", "oldest")),
        order=rng.choice(("newest_first", "oldest_first", "shuffled")),
        ties=rng.choice(("stable", "random")),
        cursor=rng.choice(("ignored", "offered", "fails_midway", "empty_midway", "rejected")),
        accept_z=rng.random() < 0.5,
        error_body=rng.choice(("new", "old")),
        utc_offset_minutes=rng.choice((0, 0, 60, 330, -480)),
        absent=rng.choice(("missing", "null", "empty", "mixed")),
        without_content_share=rng.choice(shares),
        new_field_share=rng.choice(shares),
        stray_share=rng.choice(shares),
        duplicate_share=rng.choice(shares),
        short_share=rng.choice((0.0,) * 8 + (0.02, 0.2)),
        most_rows=rng.choice((0, 0, 0, *(most for most in (50, 100, 200, 500) if most < caps_below))),
    )


def _faults(rng: Random, length_s: float, budget: int) -> Faults:
    shares = {}
    if rng.random() < 0.6:
        kinds = rng.sample(FAULT_KINDS, rng.choice((1, 2, 5)))
        shares = {kind: _log_uniform(rng, 0.002, 0.06) for kind in kinds}
    outages = []
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        start_s = rng.uniform(0, length_s)
        longest_s = rng.choice((600.0, 600.0, 600.0, HOUR_S, 6 * HOUR_S, 60 * HOUR_S))
        end_s = start_s + _log_uniform(rng, 5, longest_s)
        outages.append(
            Outage(
                BEGINS_MS + round(start_s * 1000), BEGINS_MS + round(end_s * 1000), rng.choice(FAULT_KINDS)
            )
        )
    return Faults(
        shares=shares,
        outages=tuple(outages),
        requests_per_minute=rng.choice((0, 120 if budget <= 120 else 0, max(1, budget // 2))),
        retry_after=rng.choice(("seconds", "date", "none")),
        retry_after_s=rng.choice((1, 5, 90)),
        slow_s=rng.choice((1.0, 3.0, 30.0)),
        latency_s=rng.choice((0.0, 0.0, 0.5)),
    )


def _filters(rng: Random, traffic: Traffic) -> Mapping[str, str]:
    platform = rng.choice(traffic.platforms)
    kind = rng.choice((None, None, None, None, None, "entityId", "applicationId", "sender"))
    value = {
        "entityId": platform.entity_id, "applicationId": platform.application_id, "sender": platform.sender,
    }.get(kind or "")  # fmt: skip
    return {kind: value} if kind and value else {}


def _steps(rng: Random, length_s: float) -> tuple[ClockStep, ...]:
    steps = [ClockStep(0.0, rng.choice((0.0, rng.uniform(-600, 600))))]
    more = range(rng.choice((0, 0, 0, 1, 3)))
    longest_s = rng.choice((600.0, 2 * HOUR_S))
    steps += [ClockStep(rng.uniform(0, length_s), rng.uniform(-longest_s, longest_s)) for _ in more]
    return tuple(sorted(steps))


def _stretches(
    rng: Random, count: int, length_s: float, shortest_s: float, longest_s: float
) -> tuple[tuple[float, float], ...]:
    begins = [rng.uniform(0, length_s) for _ in range(count)]
    return tuple((begin, begin + _log_uniform(rng, shortest_s, longest_s)) for begin in begins)


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(max(low, high))))
