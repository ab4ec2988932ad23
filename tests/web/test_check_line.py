"""Checks wait in a line that is fair to every address, and a worker that rests after each wrong password."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from infobip_exporter.web.check_line import (
    MOST_ADDRESSES,
    MOST_OF_AN_ADDRESS,
    MOST_WAITING,
    REST,
    Addresses,
    CheckLine,
    LineFull,
    Rank,
)


class World:
    """A line whose clock goes on by a second a check, and by what it wants to rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses = Addresses()
        self.now_s = 0.0
        self.done: list[str] = []
        self.line = CheckLine(self.addresses, lambda: self.now_s)
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.Handle:
        until_s = self.now_s + delay_s

        def later() -> None:
            self.now_s = max(self.now_s, until_s)
            call()

        return asyncio.get_running_loop().call_soon(later)

    def ask(self, address: str, *, is_right: bool = False) -> asyncio.Task[bool]:
        def check() -> bool:
            self.now_s += 1
            self.done.append(address)
            return is_right

        return asyncio.create_task(self.line.check(address, check))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    async def scenario(live: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        with monkeypatch.context() as patched:
            await live(World(patched))

    return lambda live: asyncio.run(scenario(live))


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


def test_addresses_take_turns(run: Run) -> None:
    async def live(world: World) -> None:
        asked = [world.ask(address) for address in "aaaabbc"]
        assert await asyncio.gather(*asked) == [False] * 7
        assert "".join(world.done) == "abcabaa"

    run(live)


def test_for_an_address_that_was_wrong_the_worker_rests_longer_than_it_worked(run: Run) -> None:
    async def live(world: World) -> None:
        await asyncio.gather(world.ask("a"), world.ask("b"), world.ask("c", is_right=True))
        assert world.now_s == 3
        await asyncio.gather(world.ask("a"), world.ask("b"))
        # The rest after `b` began at 2.
        assert world.now_s == 2 + REST + 1 + REST + 1

    run(live)


def test_who_was_right_goes_first_without_a_rest_and_who_was_wrong_last(run: Run) -> None:
    async def live(world: World) -> None:
        await world.ask("right", is_right=True)
        await world.ask("wrong")
        world.done.clear()
        first = world.ask("wrong")
        asked = [world.ask(address) for address in ("wrong", "right", "new", "right")]
        await asyncio.gather(first, *asked)
        assert world.done == ["right", "right", "new", "wrong", "wrong"]

    run(live)


def test_a_flood_that_began_before_anything_was_known_of_it_goes_behind_too(run: Run) -> None:
    async def live(world: World) -> None:
        flood = [world.ask(f"192.0.2.{number % 8}") for number in range(32)]
        new = world.ask("new", is_right=True)
        assert await new
        assert world.done.index("new") == 8
        await asyncio.gather(*flood)

    run(live)


def test_one_address_leaves_room_for_the_others(run: Run) -> None:
    async def live(world: World) -> None:
        flood = [world.ask("flood") for _ in range(100)]
        other = world.ask("other", is_right=True)
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert await other
        assert results.count(False) == MOST_OF_AN_ADDRESS + 1
        assert sum(isinstance(each, LineFull) for each in results) == 99 - MOST_OF_AN_ADDRESS
        assert world.done.index("other") == 1

    run(live)


def test_many_addresses_that_were_wrong_leave_room_for_new_ones(run: Run) -> None:
    async def live(world: World) -> None:
        bad = [f"192.0.2.{number}" for number in range(3 * MOST_WAITING)]
        for address in bad:
            world.addresses.note(address, is_right=False)
        flood = [world.ask(address) for address in bad]
        new = world.ask("new", is_right=True)
        assert await new
        assert world.done.index("new") <= 1
        await asyncio.gather(*flood, return_exceptions=True)
        assert MOST_WAITING < len(world.done) <= MOST_WAITING + 3

    run(live)


def test_all_addresses_of_an_ipv6_network_are_one(run: Run) -> None:
    async def live(world: World) -> None:
        flood = [world.ask(f"2001:db8::{number}") for number in range(20)]
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert results.count(False) == MOST_OF_AN_ADDRESS + 1

    run(live)


def test_only_so_many_addresses_are_remembered() -> None:
    addresses = Addresses()
    addresses.note("first", is_right=False)
    addresses.note("second", is_right=True)
    for number in range(MOST_ADDRESSES):
        addresses.note(str(number), is_right=False)
    assert [addresses.rank(each) for each in ("first", "second", "0")] == [
        Rank.UNKNOWN,
        Rank.WAS_RIGHT,
        Rank.WAS_WRONG,
    ]
