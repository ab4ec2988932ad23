"""A series' hold at zero begins with a page that a client took, not with one that was only written."""

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from infobip_exporter.metrics.snapshot import FeedSnapshot, Series
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.web.app import create_app
from infobip_exporter.web.server import Server
from tests.web.test_server import (
    IMPATIENT,
    PATIENCE_S,
    connected,
    everything,
    scrape,
    serving,
    until,
    wait_until,
)
from tests.web.views import FakeView, lively

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


@dataclass
class World:
    view: FakeView
    server: Server

    @property
    def has_begun(self) -> bool:
        now = self.view.now()
        later = Moment(now.wall_s + 3600, now.monotonic_s + 3600)  # a hold that was not begun is never over
        return bool(self.view.starts["main", "instagram"].unsaved(later))

    def wait_until_all_have_left(self) -> None:
        wait_until(lambda: not self.server.crowd.tasks)


# More than the kernel's buffers of both ends hold.
LARGE = {
    Series.of("infobip_messages_sent_total", entity_id=f"{n:0100}", application_id=""): n
    for n in range(30_000)
}


@pytest.fixture(params=["small"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    view = FakeView([lively(counters=LARGE) if request.param == "large" else lively()])
    with serving(create_app(view), IMPATIENT) as server:
        yield World(view, server)


large = pytest.mark.parametrize("world", ["large"], indirect=True)


def test_a_page_that_was_read_begins_the_hold(world: World) -> None:
    scrape(world.server)
    wait_until(lambda: world.has_begun)


def test_so_does_one_on_a_connection_that_stays_open(world: World) -> None:
    with connected(world.server) as (client,):
        client.sendall(GET)
        until(client, b"python_info{")
        wait_until(lambda: world.has_begun)


@pytest.mark.parametrize("request_bytes", [CLOSE, GET.replace(b"HTTP/1.1", b"HTTP/1.0")])
def test_so_does_one_after_which_we_close(world: World, request_bytes: bytes) -> None:
    with connected(world.server) as (client,):
        client.sendall(request_bytes)
        assert b"infobip_up" in everything(client)
    wait_until(lambda: world.has_begun)


@large
def test_a_large_page_that_was_read_begins_the_hold(world: World) -> None:
    scrape(world.server)
    wait_until(lambda: world.has_begun)


@large
@pytest.mark.parametrize("request_bytes", [GET, CLOSE])
def test_a_connection_that_is_reset_in_the_middle_of_a_page_begins_none(
    world: World, request_bytes: bytes
) -> None:
    with connected(world.server) as (client,):
        client.sendall(request_bytes)
        until(client, b"HTTP/1.1 200")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    world.wait_until_all_have_left()
    assert not world.has_begun


@large
def test_a_client_that_does_not_take_its_page_begins_none(world: World) -> None:
    with connected(world.server) as (client,):
        client.sendall(GET)
        until(client, b"HTTP/1.1 200")
        world.wait_until_all_have_left()
    assert not world.has_begun


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_before_it_is_answered_begins_none(
    world: World, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    asked, left = threading.Event(), threading.Event()

    def snapshots() -> list[FeedSnapshot]:
        asked.set()
        assert left.wait(PATIENCE_S)
        return world.view.feeds

    monkeypatch.setattr(world.view, "snapshots", snapshots)
    with connected(world.server) as (client,):
        client.sendall(GET)
        assert asked.wait(PATIENCE_S)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    left.set()
    world.wait_until_all_have_left()
    assert not world.has_begun
