"""The server on real sockets of this machine: starting, stopping, and clients that are slow, silent, greedy or broken."""

import asyncio
import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from infobip_exporter.errors import ListenError
from infobip_exporter.web.app import create_app
from infobip_exporter.web.connection import LARGEST_HEAD
from infobip_exporter.web.crowd import Limits
from infobip_exporter.web.listen import _reason, listening_sockets
from infobip_exporter.web.server import Server
from tests.alerting.servers import HTTP
from tests.web.views import FakeView, lively

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTHY = b"infobip-exporter is healthy.\n"
PATIENCE_S = 10.0
"""How long a test waits for what should come at once."""


IMPATIENT = Limits(connections=50, of_an_address=50, request_s=0.3, answer_s=0.4)
CROWDED = Limits(connections=8, of_an_address=8)


def our_app() -> ASGIApp:
    return create_app(FakeView([lively()]))


@contextmanager
def serving(
    app: ASGIApp | None = None, limits: Limits | None = None, *, address: str = "127.0.0.1:0"
) -> Iterator[Server]:
    server = Server(app or our_app(), (address,), limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def connected(server: Server, count: int = 1) -> Iterator[list[socket.socket]]:
    host, _, port = server.address.rpartition(":")
    clients: list[socket.socket] = []
    try:
        place = (host.strip("[]"), int(port))
        clients.extend(socket.create_connection(place, PATIENCE_S) for _ in range(count))
        yield clients
    finally:
        for client in clients:
            client.close()


def everything(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection, which it has to."""
    received = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            received += part
    return received


def until(client: socket.socket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        part = client.recv(65536)
        assert part, f"closed after {received!r}"
        received += part
    return received


def scrape(server: Server) -> str:
    answer = HTTP.get(f"http://{server.address}/metrics", timeout=PATIENCE_S)
    assert answer.status_code == 200
    return answer.text


# --- starting and stopping ---


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0", "[::1]:0"])
def test_it_listens_where_it_is_told_and_says_where(address: str) -> None:
    with serving(address=address) as server:
        port = int(server.address.rpartition(":")[2])
        assert port > 0
        host = "[::1]" if address == "[::1]:0" else "127.0.0.1"
        url = f"http://{server.address if address == 'localhost:0' else f'{host}:{port}'}/-/healthy"
        assert HTTP.get(url).content == HEALTHY


@pytest.mark.parametrize("address", [":0", "[::]:0"])
def test_a_port_alone_and_the_ipv6_wildcard_mean_every_address_old_and_new(address: str) -> None:
    with serving(address=address) as server:
        port = int(server.address.rpartition(":")[2])
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), PATIENCE_S).close()


def test_it_listens_on_several_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The folder may be too deep for a socket's name.
    server = Server(our_app(), ("127.0.0.1:0", "unix:x.sock", "127.0.0.1:0"))
    server.start()
    try:
        first, second, third = server.addresses
        assert server.address == first != third
        assert second == "unix:x.sock"
        for address in (first, third):
            assert HTTP.get(f"http://{address}/-/healthy").content == HEALTHY
        with httpx.Client(transport=httpx.HTTPTransport(uds="x.sock")) as client:
            assert client.get("http://exporter/-/healthy").content == HEALTHY
    finally:
        server.stop()
    assert not Path("x.sock").exists()


def test_where_one_of_several_addresses_is_taken_it_listens_on_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = f"127.0.0.1:{probe.getsockname()[1]}"
    with serving() as server:
        with pytest.raises(ListenError, match=f"can't listen on {server.address}"):
            Server(our_app(), (free, "unix:x.sock", server.address)).start()
        assert not Path("x.sock").exists()
        with serving(address=free):
            pass


def test_a_name_for_several_addresses_listens_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sockets = listening_sockets(f"both.example:{port}")
    assert [bound.getsockname()[0] for bound in sockets] == ["::1", "127.0.0.1"]
    for bound in sockets:
        bound.close()


def test_with_any_free_port_a_name_for_several_addresses_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    (bound,) = listening_sockets("both.example:0")
    bound.close()


def test_a_port_is_taken_from_the_moment_it_is_bound() -> None:
    (bound,) = listening_sockets("127.0.0.1:0")
    try:
        with pytest.raises(ListenError, match="in use"):
            listening_sockets(f"127.0.0.1:{bound.getsockname()[1]}")
    finally:
        bound.close()


def test_a_port_in_use_is_told_in_a_line() -> None:
    with serving() as server, pytest.raises(ListenError) as told:
        Server(our_app(), (server.address,)).start()
    port = server.address.rpartition(":")[2]
    expected = f"can't listen on {server.address}: port {port} is in use by another program"
    assert str(told.value) == f"{expected}; choose another with --web.listen-address"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("no.such.host.invalid:9000", "the host 'no.such.host.invalid' can't be resolved"),
        ("192.0.2.1:9000", "192.0.2.1 is not an address of this machine"),
        ("9000", "must be host:port"),
        ("127.0.0.1:99999", "must be host:port"),
    ],
)
def test_an_address_that_cannot_be_had_is_told_in_a_line(address: str, told: str) -> None:
    with pytest.raises(ListenError) as error:
        Server(our_app(), (address,)).start()
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_port_of_the_systems_is_told_as_such() -> None:
    # Tests may run as root, whom no port is refused.
    said = _reason(PermissionError(errno.EACCES, "Permission denied"), "0.0.0.0", 80)
    assert said == "no permission to listen on port 80; ports below 1024 are the system's"


def test_signals_are_left_alone() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with serving():
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_stopping_waits_for_no_idle_slow_or_greedy_client() -> None:
    app = Endless()
    with serving(app) as server, connected(server, 3) as (_, slow, greedy):
        slow.sendall(GET[:10])
        greedy.sendall(GET)
        wait_until(lambda: app.asked == 1)
        began = time.monotonic()
        server.stop(2.0)
        assert time.monotonic() - began < 10
        with pytest.raises(OSError, match="refused"), connected(server):
            pass


def test_stopping_twice_or_before_starting_does_nothing() -> None:
    Server(our_app(), ("127.0.0.1:0",)).stop()
    with serving() as server:
        server.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "web"]


def test_the_port_is_free_again_after_stopping() -> None:
    with serving() as server:
        HTTP.get(f"http://{server.address}/-/healthy")
    with serving(address=server.address):
        pass


# --- slow, silent, greedy and broken clients ---


def test_metrics_are_answered_beside_two_hundred_clients_that_never_finish_asking() -> None:
    with serving() as server, connected(server, 200) as slow:
        for place, client in enumerate(slow):
            client.sendall(GET[: place % len(GET)])
        for _ in range(10):
            assert "infobip_up" in scrape(server)


def test_a_silent_client_is_dropped() -> None:
    with serving(limits=IMPATIENT) as server, connected(server) as (client,):
        assert everything(client) == b""


def test_a_client_that_trickles_its_request_is_dropped_all_the_same() -> None:
    with serving(limits=IMPATIENT) as server, connected(server) as (client,):
        assert everything_while(client, lambda: client.sendall(b"G"), every_s=0.05) == b""


def test_a_client_that_trickles_a_body_is_dropped() -> None:
    with serving(limits=IMPATIENT) as server, connected(server) as (client,):
        client.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert everything_while(client, lambda: client.sendall(b"1\r\nx\r\n"), every_s=0.05) == b""


def test_a_second_request_on_the_same_connection_has_to_arrive_in_time_too() -> None:
    with serving(limits=IMPATIENT) as server, connected(server) as (client,):
        client.sendall(GET)
        until(client, HEALTHY)
        client.sendall(GET[:12])
        assert everything(client) == b""


def test_an_idle_connection_outlives_the_deadline_of_a_request() -> None:
    with serving(limits=IMPATIENT) as server, connected(server, 2) as (idle, silent):
        idle.sendall(GET)
        until(idle, HEALTHY)
        assert everything(silent) == b""  # a deadline has passed
        idle.sendall(GET)
        until(idle, HEALTHY)


def test_a_client_that_does_not_take_its_answer_is_dropped() -> None:
    # More than the kernel's buffers of both ends hold.
    for ending in (b"", b"Connection: close\r\n"):
        with serving(_large_app(), IMPATIENT) as server, connected(server) as (client,):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + ending + b"\r\n")
            until(client, b"HTTP/1.1 200")
            wait_until(lambda: not server.crowd.tasks)


def test_a_client_that_asks_on_and_on_without_taking_answers_is_dropped() -> None:
    with serving(_large_app(), IMPATIENT) as server, connected(server) as (client,):
        client.sendall(GET * 200)
        until(client, b"HTTP/1.1 200")
        wait_until(lambda: not server.crowd.tasks)


def test_answers_that_are_not_taken_have_a_time_together() -> None:
    """However many requests were sent ahead: they share the time of one."""
    with serving(_large_app(1_000_000), IMPATIENT) as server, connected(server) as (client,):
        began = time.monotonic()
        client.sendall(GET * 50)
        client.settimeout(0.1)
        with suppress(ConnectionError):
            while client.recv(20_000):
                time.sleep(0.02)
        assert time.monotonic() - began < 20  # All of them would take 50 s.


def test_the_next_request_is_not_looked_at_before_the_answer_was_taken() -> None:
    asked = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await _large_app()(scope, receive, send)

    with serving(app) as server, connected(server) as (client,):
        client.sendall(GET * 10)
        until(client, b"HTTP/1.1 200")
        assert asked == ["/-/healthy"]


@pytest.mark.parametrize("size", [17_000, 100_000])
def test_a_head_over_16_kib_is_refused_also_in_one_piece(size: int) -> None:
    with serving() as server, connected(server) as (client,):
        with suppress(ConnectionError):
            client.sendall(GET[:-2] + b"X: " + b"a" * size + b"\r\n\r\n")
        received = everything(client)
        assert received == b"" or received.startswith(b"HTTP/1.1 431")


def test_a_head_just_below_16_kib_is_answered() -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(GET[:-2] + b"X: " + b"a" * (LARGEST_HEAD - len(GET) - 10) + b"\r\n\r\n")
        assert HEALTHY in until(client, HEALTHY)


def test_a_request_with_two_lengths_is_refused_and_the_connection_closed() -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(GET[:-2] + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET)
        received = everything(client)
        assert received.startswith(b"HTTP/1.1 400")
        assert received.count(b"HTTP/1.1") == 1


def test_an_answer_under_way_is_not_cut_off_by_garbage_behind_the_request() -> None:
    with serving(limits=IMPATIENT) as server, connected(server) as (client,):
        client.sendall(GET + b"\x00\x01\x02 garbage\r\n\r\n")
        received = everything(client)
        assert HEALTHY in received
        assert b"HTTP/1.1 400" in received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (2 * LARGEST_HEAD),
        b"GET /" + b"a" * (2 * LARGEST_HEAD),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tls", "no target", "no host", "length", "header", "huge header", "huge target", "http/2"],
)
def test_a_broken_request_is_refused_and_the_next_client_served(request_bytes: bytes) -> None:
    with serving() as server:
        with connected(server) as (client,):
            with suppress(ConnectionError):
                client.sendall(request_bytes)
            received = everything(client)
            assert received == b"" or received.startswith(b"HTTP/1.1 4")
        assert "infobip_up" in scrape(server)


def test_a_body_that_is_broken_from_the_start_is_refused_without_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
        received = everything(client)
        assert received.startswith(b"HTTP/1.1 400")
        assert received.count(b"HTTP/1.1") == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_pipelined_requests_are_answered_in_turn() -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(
            GET * 5 + GET.replace(b"healthy", b"ready").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        received = everything(client)
        assert received.count(HEALTHY) == 5
        assert received.endswith(b"infobip-exporter is ready.\n")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://exporter:10470/-/healthy", b"200"),
        (b"HTTPS://exporter/-/health%79?x=/y", b"200"),
        (b"http://exporter/metrics", b"200"),
        (b"http://exporter", b"200"),
        (b"http://exporter?x", b"200"),
        (b"http://exporter/nowhere", b"404"),
        (b"*", b"404"),
    ],
)
def test_a_request_in_absolute_form_is_for_its_path(target: bytes, status: bytes) -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 " + status)


def test_a_body_is_not_kept() -> None:
    with serving() as server, connected(server) as (client,):
        body = b"x" * 3_000_000
        head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.sendall(head + body + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert everything(client).count(HEALTHY) == 2


def test_no_answer_waits_for_the_client_to_acknowledge_its_head() -> None:
    with serving() as server, connected(server) as (client,):
        client.sendall(GET)
        until(client, HEALTHY)
        (connection,) = server.crowd.tasks
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_upgrade_is_not_taken_up() -> None:
    with serving() as server, connected(server) as (client,):
        upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
        client.sendall(GET.replace(b"\r\n\r\n", upgrade))
        assert until(client, HEALTHY).startswith(b"HTTP/1.1 200")


def test_beyond_the_most_connections_the_longest_waiting_make_room() -> None:
    with serving(limits=CROWDED) as server, connected(server, CROWDED.connections) as old:
        for client in old:
            client.sendall(GET)
            until(client, HEALTHY)
        with connected(server, 5) as new:
            for client in new:
                client.sendall(GET)
                until(client, HEALTHY)
            for client in old[:5]:
                assert everything(client) == b""
            for client in old[5:]:
                client.sendall(GET)
                until(client, HEALTHY)


def test_one_that_is_being_answered_does_not_have_to_make_room() -> None:
    app = Endless()
    with serving(app, CROWDED) as server, connected(server, CROWDED.connections) as busy:
        for client in busy:
            client.sendall(GET)
        wait_until(lambda: app.asked == CROWDED.connections)
        with connected(server) as (late,):
            late.settimeout(0.5)
            late.sendall(GET)
            with pytest.raises(TimeoutError):
                late.recv(1)
            assert app.asked == len(server.crowd.tasks) == CROWDED.connections


def test_a_hundred_scrapes_at_once_are_all_answered() -> None:
    with serving() as server, connected(server, 100) as clients:
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for client in clients:
            assert b"infobip_up" in everything(client)


def _large_app(size: int = 20_000_000) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    return app


class Endless:
    """An application that never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await asyncio.Event().wait()


def everything_while(client: socket.socket, act: Callable[[], object], *, every_s: float) -> bytes:
    """What comes until the server closes, while `act` is done again and again."""
    client.settimeout(every_s)
    received = b""
    ends_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at:
        try:
            act()
            part = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return received
        if not part:
            return received
        received += part
    raise AssertionError("never closed")


def wait_until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends_at
        threading.Event().wait(0.02)
