"""Reading the configuration anew: asked for in one thread, done in another, refused with its reason."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from infobip_exporter.config.schema import Account, Config, Log, State, Web
from infobip_exporter.errors import ConfigError, ExporterError
from infobip_exporter.metrics.snapshot import Reloaded
from infobip_exporter.model.secret import Secret
from infobip_exporter.reload import Reloads, refuse_what_can_not_change
from infobip_exporter.signals import SIGNALS

FIRST = Reloaded(successful=True, success_s=1.0)
CONFIG = Config((Account("main", "http://127.0.0.1:1", api_key=Secret("0123456789")),))


class World:
    def __init__(self) -> None:
        self.now: list[Config] = []
        self.config = CONFIG
        self.mistake: Exception | None = None
        """Of the new configuration."""
        self.obstacle: Exception | None = None
        """What keeps from going on with it."""
        self.reloads = Reloads(self.reread)

    def reread(self) -> Config:
        if self.mistake:
            raise self.mistake
        return self.config

    async def change_to(self, config: Config) -> None:
        if self.obstacle:
            raise self.obstacle
        self.now.append(config)

    def serve(self, last: Reloaded) -> Reloaded:
        return asyncio.run(self.reloads.serve(last, self.change_to))

    def ask_and_serve(self) -> tuple[Reloaded, BaseException | None]:
        """What the main thread made of it, and what the one who asked was told."""
        told: list[BaseException | None] = []

        def ask() -> None:
            try:
                self.reloads.ask()
                told.append(None)
            except ExporterError as error:
                told.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        last = FIRST
        while last is FIRST:
            last = self.serve(FIRST)
        asking.join()
        return last, told[0]


def test_a_signal_has_the_configuration_read_once() -> None:
    world = World()
    assert world.serve(FIRST) is FIRST
    SIGNALS.reload_wanted = True
    last = world.serve(FIRST)
    assert last.successful
    assert last.success_s > FIRST.success_s
    assert world.serve(last) is last
    assert world.now == [CONFIG]


def test_who_asks_is_told_when_it_is_done() -> None:
    world = World()
    last, told = world.ask_and_serve()
    assert (last.successful, told, world.now) == (True, None, [CONFIG])


def test_a_wrong_configuration_is_refused_and_whoever_asked_is_told_why() -> None:
    world = World()
    world.mistake = ConfigError(["pol: unknown key"])
    last, told = world.ask_and_serve()
    assert last == Reloaded(successful=False, success_s=FIRST.success_s)
    assert told is world.mistake
    assert world.now == []


@pytest.mark.parametrize("place", ["mistake", "obstacle"])
def test_an_error_nobody_thought_of_is_a_refusal_as_well(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    setattr(world, place, OSError(24, "Too many open files"))
    last, told = world.ask_and_serve()
    assert last == Reloaded(successful=False, success_s=FIRST.success_s)
    assert str(told) == "internal error, OSError: see the log"
    said = capsys.readouterr().out
    assert "reloading the configuration failed, keeping the old one" in said
    assert "Too many open files" in said
    assert world.now == []


def test_what_is_hardly_meant_in_the_new_configuration_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World()
    world.config = replace(CONFIG, accounts=(replace(CONFIG.accounts[0], requests_per_minute=200),))
    world.ask_and_serve()
    assert "requests_per_minute is 200, but the API allows 120" in capsys.readouterr().out


def test_who_asks_while_the_process_ends_is_refused_at_once() -> None:
    world = World()
    slow = asyncio.Event()

    async def never(_: Config) -> None:
        await slow.wait()

    async def cancelled() -> None:
        serving = asyncio.create_task(world.reloads.serve(FIRST, never))
        await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.wait([serving])
        world.reloads.end()

    def ask(refused: list[str]) -> None:
        with pytest.raises(ConfigError) as error:
            world.reloads.ask()
        refused += error.value.problems

    refused: list[str] = []
    asking = threading.Thread(target=ask, args=(refused,))
    asking.start()
    while world.reloads._asked.empty():
        pass
    asyncio.run(cancelled())
    asking.join(10)
    ask(refused)
    assert refused == ["the exporter is ending"] * 2


def test_what_needs_a_restart_is_refused_by_name() -> None:
    new = replace(
        CONFIG,
        state=State("sqlite:///other.db"),
        web=Web(":1", Path("web.yml")),
        log=Log("debug", "json"),
    )
    with pytest.raises(ConfigError) as refused:
        refuse_what_can_not_change(CONFIG, new)
    keys = ["state.url", "web.listen_address", "log.level", "log.format", "web.config_file"]
    assert refused.value.problems == [f"{key}: can't change while running: restart" for key in keys]
    refuse_what_can_not_change(CONFIG, replace(CONFIG, accounts=()))
