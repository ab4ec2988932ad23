"""A failing world made smaller while it still fails: fewer messages, faults, quirks and crashes to read through."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from infobip_sandbox.faults import NO_FAULTS
from infobip_sandbox.quirks import DOCUMENTED, Quirks
from simulation.dates import Dates
from simulation.oddities import Oddities
from simulation.run import Outcome, run_world
from simulation.world import FeedWorld, SimulatedWorld

MOST_RUNS = 150
QUIRKS = tuple(Quirks.__dataclass_fields__)


def shrink(
    world: SimulatedWorld, fails: Callable[[SimulatedWorld], bool], most_runs: int = MOST_RUNS
) -> tuple[SimulatedWorld, list[str]]:
    """The smallest world found that still `fails`, and what was taken away. Greedy: what helps is kept at once."""
    taken: list[str] = []
    needed: set[str] = set()
    for _ in range(most_runs):
        left = ((what, less) for what, less in _smaller(world) if what not in needed and less != world)
        what, candidate = next(left, ("", world))
        if candidate is world:
            break
        if fails(candidate):
            world = candidate
            taken.append(what)
        else:
            needed.add(what)
    return world, taken


def shrunk(world: SimulatedWorld) -> tuple[Outcome, list[str]]:
    """What fails in the smallest world like `world`, and what was taken away to get there."""
    small, taken = shrink(world, lambda candidate: bool(run_world(candidate).problems))
    return run_world(small), taken


def _smaller(world: SimulatedWorld) -> Iterator[tuple[str, SimulatedWorld]]:
    """Worlds with something less, the greatest steps first."""
    for feed in world.feeds:
        if len(world.feeds) > 1:
            left = tuple(each for each in world.feeds if each is not feed)
            yield f"the feed {feed.channel}", replace(world, feeds=left)
    yield "kills", replace(world, kill_every=0.0)
    yield "full disks", replace(world, disk_full=(), statements_fail=0.0)
    yield "steps of the exporter's clock", replace(world, wall_steps=world.wall_steps[:1])
    yield "the exporter's wrong clock", replace(world, wall_steps=())
    yield "two days away", replace(world, away_s=0.0)
    yield "suspends", replace(world, suspends=())
    yield "slow commits", replace(world, slowest_commit_s=0.0)
    for number, feed in enumerate(world.feeds):
        for what, less in _less(feed):
            feeds = (*world.feeds[:number], less, *world.feeds[number + 1 :])
            yield f"{feed.channel}: {what}", replace(world, feeds=feeds)


def _less(feed: FeedWorld) -> Iterator[tuple[str, FeedWorld]]:
    traffic, faults = feed.traffic, feed.faults
    yield "all faults", replace(feed, faults=NO_FAULTS)
    yield "all quirks", replace(feed, ways=((0.0, DOCUMENTED),))
    yield "changes of the API's ways", replace(feed, ways=feed.ways[:1])
    yield "all oddities", replace(feed, oddities=Oddities())
    messages = traffic.per_second * (feed.traffic_until_ms - feed.traffic_from_ms) / 1000
    for share in (4, 2) if messages > 2 else ():
        fewer = replace(traffic, per_second=traffic.per_second / share)
        yield f"messages but for 1 in {share}", replace(feed, traffic=fewer)
    yield "dense", replace(feed, traffic=replace(traffic, dense=()))
    yield "incidents", replace(feed, traffic=replace(traffic, incidents=()))
    plain = {"bulk_share": 0.0, "burstiness": 0.0, "late_share": 0.0, "bad_share": 0.0, "tick_ms": 1}
    for name, value in plain.items():
        yield name, replace(feed, traffic=replace(traffic, **{name: value}))  # type: ignore[arg-type]
    yield "steps of the API's clock", replace(feed, api_steps=())
    yield "missing and wrong dates", replace(feed, dates=Dates())
    yield "scrapes", replace(feed, scrape_share=0.0)
    yield "filters", replace(feed, filters={})
    for kind in faults.shares:
        shares = {each: share for each, share in faults.shares.items() if each != kind}
        yield f"faults {kind}", replace(feed, faults=replace(faults, shares=shares))
    for outage in faults.outages:
        outages = tuple(each for each in faults.outages if each is not outage)
        yield f"an outage ({outage.kind})", replace(feed, faults=replace(faults, outages=outages))
    for name in QUIRKS:
        plain_ways = tuple(
            (at_s, replace(quirks, **{name: getattr(DOCUMENTED, name)})) for at_s, quirks in feed.ways
        )
        yield f"quirk {name}", replace(feed, ways=plain_ways)
    for name in Oddities.__dataclass_fields__:
        fewer_odd = replace(feed.oddities, **{name: getattr(Oddities(), name)})
        yield f"oddity {name}", replace(feed, oddities=fewer_odd)
