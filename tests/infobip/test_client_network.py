"""The client against real sockets that do what servers must not do."""

import asyncio
import json
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from infobip_exporter.config.schema import Account
from infobip_exporter.errors import ConfigError, RequestFailed
from infobip_exporter.infobip import network
from infobip_exporter.infobip.access import Access
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.tls import Tls
from infobip_exporter.model.record import Answer
from infobip_exporter.model.secret import Secret

BODY = json.dumps({"results": []}).encode()
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
TIMEOUT_S = 0.4

Behaviour = Callable[[socket.socket], None]
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Server:
    """A TCP server on loopback that meets each connection with `behaviour` and then closes it."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.ended = threading.Semaphore(0)
        self.stop = threading.Event()
        self._behaviour = behaviour
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self.stop.is_set():
            with suppress(OSError):
                connection, _ = self._listener.accept()
                self._open.append(connection)
                with self._wrapped(connection) as stream:
                    self.connections += not self.stop.is_set()
                    self._behaviour(stream)
                self.ended.release()

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)

    def close(self) -> None:
        self.stop.set()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _no_look_up_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_look_ups", {})


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(behaviour, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS for `localhost`, by an authority that the client trusts."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        received = connection.recv(65536)
        if not received:
            raise OSError("the client went away")
        request += received
    return request


def answering(*pieces: bytes, pause_s: float = 0.0) -> Behaviour:
    def behaviour(connection: socket.socket) -> None:
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)  # the pace of a slow server: there is no clock to pass to a socket

    return behaviour


def dribbling(data: bytes) -> Behaviour:
    return answering(*(data[at : at + 1] for at in range(len(data))), pause_s=0.05)


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def client(port: int, *, base_url: str = "http://127.0.0.1:{port}", timeout_s: float = TIMEOUT_S) -> Client:
    account = Account("main", base_url.format(port=port), api_key=Secret("key"))
    return Access(account, timeout_s).client("instagram", {})


def ask(port: int, times: int = 1, **changes: Any) -> list[Answer]:
    async def fetch() -> list[Answer]:
        asking = client(port, **changes)
        try:
            return [await asking.fetch(Query()) for _ in range(times)]
        finally:
            await asking.close()

    return asyncio.run(fetch())


def failure(port: int, **changes: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as failed:
        ask(port, **changes)
    return failed.value


def test_a_good_server_is_read_over_one_connection(serve: Callable[..., Server]) -> None:
    def behaviour(connection: socket.socket) -> None:
        for _ in range(3):
            read_request(connection)
            connection.sendall(GOOD)

    server = serve(behaviour)
    assert [answer.page.rows for answer in ask(server.port, 3, timeout_s=10)] == [0, 0, 0]
    assert server.connections == 1


async def test_a_connection_that_the_server_gave_up_is_replaced(serve: Callable[..., Server]) -> None:
    server = serve(answering(GOOD))

    asking = client(server.port, timeout_s=10)
    for _ in range(3):
        assert (await asking.fetch(Query())).page.rows == 0
        assert server.ended.acquire(timeout=10)
    await asking.close()

    assert server.connections == 3


Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def meeting(meet: Meet, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server in the loop of the test, by its port; at the end it waits until every client has gone."""
    meetings: list[asyncio.Task[Any] | None] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meetings.append(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            await meet(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with asyncio.timeout(60), await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(each for each in meetings if each))


async def test_four_requests_are_under_way_at_once_over_connections_that_are_used_again() -> None:
    connections: list[asyncio.StreamWriter] = []

    asked = asyncio.Barrier(4)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.readuntil(b"\r\n\r\n"):
            await asked.wait()
            writer.write(GOOD)

    async with meeting(meet) as port:
        asking = client(port, timeout_s=10)
        for _ in range(3):
            answers = await asyncio.gather(*(asking.fetch(Query()) for _ in range(4)))
            assert [answer.page.rows for answer in answers] == [0] * 4
        await asking.close()

    assert len(connections) == 4


def test_the_request_is_sent_after_the_connection_was_made(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []

    def look_up() -> list[str]:
        times.append(time.monotonic())
        return ["127.0.0.1"]

    look_up_as(monkeypatch, look_up)
    (answer,) = ask(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)
    assert times[0] < answer.asked_s < answer.received_s


async def test_an_idle_connection_is_closed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_KEEPALIVE_S", 0.05)

    gone = asyncio.Event()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)
        assert await reader.read() == b""
        gone.set()

    async with meeting(meet) as port:
        asking = client(port, timeout_s=10)
        assert (await asking.fetch(Query())).page.rows == 0
        await gone.wait()
        await asking.close()


@pytest.mark.parametrize(
    "behaviour",
    [
        silent,
        dribbling(GOOD * 10),
        dribbling(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000),
        dribbling(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b" "] * 1000, pause_s=0.05),
        answering(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 99, pause_s=0.05
        ),
    ],
    ids=["silent", "byte by byte", "endless header", "headers byte by byte", "body byte by byte", "chunks"],
)
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_the_whole_request_ends_at_the_deadline(
    serve: Callable[..., Server], tls: ssl.SSLContext, behaviour: Behaviour, over_tls: bool
) -> None:
    server = serve(behaviour, tls if over_tls else None)
    started = time.monotonic()
    failed = failure(
        server.port, base_url="https://localhost:{port}" if over_tls else "http://127.0.0.1:{port}"
    )
    assert failed.code == "timeout"
    assert TIMEOUT_S <= failed.took_s <= time.monotonic() - started < TIMEOUT_S + 3


def test_a_tls_handshake_that_never_ends_is_a_timeout(
    serve: Callable[..., Server], tls: ssl.SSLContext
) -> None:
    assert failure(serve(silent).port, base_url="https://localhost:{port}").code == "timeout"


def reset(connection: socket.socket) -> None:
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "behaviour",
    [
        reset,
        answering(),
        answering(b"HTTP/1.1 200 OK\r\nContent-Le"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + BODY),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        answering(b'private text {"results": []}\r\n\r\n'),
        answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
        answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
    ],
    ids=["reset", "closed", "half headers", "cut", "cut chunk", "bad chunk", "no HTTP", "huge header", "ssh"],
)
def test_an_answer_that_breaks_off_is_a_connection_failure(
    serve: Callable[..., Server], behaviour: Behaviour
) -> None:
    failed = failure(serve(behaviour).port, timeout_s=10)
    assert failed.code == "connection"
    assert failed.text
    assert "private" not in failed.text


def test_a_closed_port_is_a_connection_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failed = failure(port)
    assert failed.code == "connection"
    assert "refused" in failed.text


def test_a_certificate_that_nobody_vouches_for_is_a_connection_failure(
    serve: Callable[..., Server], tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    failed = failure(serve(answering(GOOD), tls).port, base_url="https://localhost:{port}", timeout_s=10)
    assert failed.code == "connection"
    assert "CERTIFICATE_VERIFY_FAILED" in failed.text


def test_tls_where_there_is_none_is_a_connection_failure(serve: Callable[..., Server]) -> None:
    server = serve(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert failure(server.port, base_url="https://127.0.0.1:{port}", timeout_s=10).code == "connection"


def test_an_answer_over_tls_is_read(serve: Callable[..., Server], tls: ssl.SSLContext) -> None:
    assert ask(serve(answering(GOOD), tls).port, base_url="https://localhost:{port}", timeout_s=10)


def test_a_body_without_a_length_is_cut_where_the_connection_ends(serve: Callable[..., Server]) -> None:
    failed = failure(serve(answering(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:-1])).port, timeout_s=10)
    assert failed.code == "invalid_body"


def handshake_only(connection: socket.socket) -> None:
    connection.recv(65536)
    silent(connection)


def half_answered(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(GOOD[:-1])
    silent(connection)


def tunnel_into_nothing(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    silent(connection)


@pytest.mark.parametrize("behaviour", [silent, tunnel_into_nothing])
async def test_a_proxy_that_hangs_is_a_timeout_and_its_connection_is_closed(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    server = serve(behaviour)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")

    asking = client(443, base_url="https://api.test")
    with pytest.raises(RequestFailed, match="timeout"):
        await asking.fetch(Query())
    assert await asyncio.to_thread(server.ended.acquire, timeout=10), "the connection is still open"
    await asking.close()


@pytest.mark.parametrize(
    ("behaviour", "url", "over_tls"),
    [
        (silent, "http://127.0.0.1:{port}", False),
        (silent, "https://localhost:{port}", True),
        (half_answered, "http://127.0.0.1:{port}", False),
        (half_answered, "https://localhost:{port}", True),
        (handshake_only, "https://localhost:{port}", False),
    ],
    ids=["no answer", "no answer over TLS", "half an answer", "half an answer over TLS", "no handshake"],
)
async def test_a_cancelled_request_ends_at_once_and_leaves_no_connection(
    serve: Callable[..., Server], tls: ssl.SSLContext, behaviour: Behaviour, url: str, *, over_tls: bool
) -> None:
    met = threading.Event()

    def behave(connection: socket.socket) -> None:
        met.set()
        behaviour(connection)

    server = serve(behave, tls if over_tls else None)

    asking = client(server.port, base_url=url, timeout_s=60)
    task = asyncio.create_task(asking.fetch(Query()))
    assert await asyncio.to_thread(met.wait, 10)
    await asyncio.sleep(0.05)  # until what the server sends has come: it is not ours to be told
    task.cancel()
    assert await asyncio.wait([task], timeout=1) == ({task}, set())
    assert task.cancelled()
    assert await asyncio.to_thread(server.ended.acquire, timeout=10), "the connection is still open"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asking.close()


def test_requests_cancelled_at_any_moment_leave_room_for_the_next() -> None:
    draw = random.Random(3)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(draw.uniform(0, 0.002))
            writer.write(GOOD)

    async def cancel() -> None:
        async with meeting(meet) as port:
            asking = client(port, timeout_s=10)
            for _ in range(60):
                tasks = [asyncio.create_task(asking.fetch(Query())) for _ in range(4)]
                await asyncio.sleep(draw.uniform(0, 0.02))
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert all(task.cancelled() or task.result() for task in tasks)
            assert (await asking.fetch(Query())).page.rows == 0
            await asking.close()

    asyncio.run(cancel())


def look_up_as(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], list[str]]) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **others: Any) -> Any:
        if host != "api.test":
            return real(host, port, *rest, **others)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer()]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_nobody_knows_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    look_up_as(monkeypatch, unknown)
    failed = failure(1, base_url="http://api.test:{port}")
    assert failed.code == "connection"
    assert "Name or service not known" in failed.text


def hanging(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A name server that answers once the event is set."""
    released = threading.Event()

    def hang() -> list[str]:
        released.wait(30)
        return ["127.0.0.1"]

    look_up_as(monkeypatch, hang)
    return released


def test_a_name_server_that_hangs_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    released = hanging(monkeypatch)
    failed = failure(1, base_url="http://api.test:{port}")
    released.set()
    assert failed.code == "timeout"
    assert failed.took_s < 10  # The name server answers after 30 s.


async def test_all_who_ask_wait_for_one_look_up_which_none_of_them_ends(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = hanging(monkeypatch)
    server = serve(answering(GOOD))

    clients = [client(server.port, base_url="http://api.test:{port}", timeout_s=10) for _ in range(20)]
    tasks = [asyncio.create_task(each.fetch(Query())) for each in clients]
    await asyncio.sleep(0.05)
    for task in tasks[:10]:
        task.cancel()
    assert sum(thread.name == "look-up" for thread in threading.enumerate()) == 1
    released.set()
    answers = await asyncio.gather(*tasks[10:])
    assert [answer.page.rows for answer in answers] == [0] * 10
    for each in clients:
        await each.close()


def test_a_look_up_that_hangs_for_long_is_replaced(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = hanging(monkeypatch)
    assert failure(1, base_url="http://api.test:{port}").code == "timeout"
    look_up_as(monkeypatch, lambda: ["127.0.0.1"])
    assert failure(1, base_url="http://api.test:{port}").code == "timeout"
    monkeypatch.setattr(network, "_LOOK_UP_AGAIN_AFTER_S", TIMEOUT_S)
    assert ask(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)
    released.set()


HANGING_PROCESS = """
import asyncio, socket, sys, time
from infobip_exporter.config.schema import Account
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip.access import Access
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.secret import Secret

def hang(*arguments, **named):
    time.sleep(600)

async def main(timeout_s):
    task = asyncio.create_task(
        Access(Account("main", "https://api.test", api_key=Secret("key")), timeout_s).client("sms", {}).fetch(Query())
    )
    await asyncio.wait([task], timeout=0.5)
    task.cancel()
    await asyncio.wait([task])
    print("cancelled" if task.cancelled() else task.exception().code)

socket.getaddrinfo = hang
asyncio.run(main(float(sys.argv[1])))
"""


@pytest.mark.parametrize(("timeout_s", "end"), [(0.2, "timeout"), (60, "cancelled")])
def test_a_process_ends_while_its_name_server_hangs(timeout_s: float, end: str) -> None:
    command = [sys.executable, "-c", HANGING_PROCESS, str(timeout_s)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{end}\n", "")


def test_a_name_that_can_be_none_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise UnicodeError("label too long")

    look_up_as(monkeypatch, refuse)
    assert failure(1, base_url="http://api.test:{port}").code == "connection"


def test_a_name_without_an_address_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up_as(monkeypatch, list)
    assert failure(1, base_url="http://api.test:{port}").code == "connection"


def test_an_address_that_refuses_leaves_it_to_the_next(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up_as(monkeypatch, lambda: ["127.0.0.2", "127.0.0.1"])
    assert ask(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)


def test_an_address_that_is_silent_leaves_time_for_the_next(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = anyio.connect_tcp

    async def connect_tcp(address: str, port: int) -> Any:
        return await connect(address, port) if address == "127.0.0.1" else await asyncio.sleep(3600)

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    monkeypatch.setattr(network, "_NEXT_ADDRESS_AFTER_S", 0.05)
    look_up_as(monkeypatch, lambda: ["192.0.2.1", "192.0.2.2", "127.0.0.1"])
    assert ask(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("form", ["http://user:pass@127.0.0.1:{port}", "user:pass@127.0.0.1:{port}"])
def test_the_proxy_of_the_environment_is_used(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, variable: str, form: str
) -> None:
    requests: list[bytes] = []

    def behaviour(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(GOOD)

    monkeypatch.setenv(variable, form.format(port=serve(behaviour).port))
    ask(80, base_url="http://api.test", timeout_s=10)
    assert requests[0].startswith(b"GET http://api.test/instagram/1/logs?limit=1000 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in requests[0]


def test_https_goes_through_the_proxy_as_a_tunnel(
    serve: Callable[..., Server], tls: ssl.SSLContext, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(context)
    requests: list[bytes] = []

    def behaviour(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as tunnel:
            requests.append(read_request(tunnel))
            tunnel.sendall(GOOD)

    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{serve(behaviour).port}")
    ask(443, base_url="https://api.test", timeout_s=10)
    assert requests[0].startswith(b"CONNECT api.test:443 ")
    assert b"App key" not in requests[0]
    assert b"Authorization: App key\r\n" in requests[1]


class ForwardProxy:
    """A forward proxy in the loop of a test: it tunnels, whatever the host, to `port` of this machine."""

    def __init__(self, port: int) -> None:
        self.tunnels: list[str] = []
        self._port = port

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode().split(" ", 2)
        assert method == "CONNECT"
        self.tunnels.append(target)
        inside, outside = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        passing = self._pass(reader, outside), self._pass(inside, writer)
        await asyncio.gather(*passing, return_exceptions=True)
        with suppress(OSError):
            await outside.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:  # also where the connection is reset: the other direction would never end
            writer.close()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize("proxy_over_tls", [False, True], ids=["plain", "TLS"])
def test_an_answer_through_a_forward_proxy_is_read(
    serve: Callable[..., Server],
    tls: ssl.SSLContext,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    *,
    proxy_over_tls: bool,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.test").configure_cert(context)
    proxy = ForwardProxy(serve(answering(GOOD), context).port)

    async def fetch() -> Answer:
        async with meeting(proxy.meet, tls if proxy_over_tls else None) as port:
            monkeypatch.setenv(variable, f"{'https' if proxy_over_tls else 'http'}://localhost:{port}")
            asking = client(443, base_url="https://api.test", timeout_s=10)
            answer = await asking.fetch(Query())
            await asking.close()
            return answer

    assert asyncio.run(fetch()).page.rows == 0
    assert proxy.tunnels == ["api.test:443"]


def test_a_host_that_is_excepted_from_the_proxy_is_asked_directly(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*.test")
    look_up_as(monkeypatch, lambda: ["127.0.0.1"])
    assert ask(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)


def test_clients_share_the_certificate_authorities_until_their_file_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    first = Tls().context()
    assert Tls().context() is first
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        client(443, base_url="https://api.test")


def test_no_garbage_raises_anything_but_a_failure(serve: Callable[..., Server]) -> None:
    draw = random.Random(7)
    heads = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: ",
    ]

    def behaviour(connection: socket.socket) -> None:
        read_request(connection)
        noise = bytes(draw.choices([13, 10, 58, 32, 47, 49, 91, *range(256)], k=draw.randrange(40)))
        connection.sendall(draw.choice(heads) + noise + draw.choice([b"", b"\r\n\r\n" + noise]))

    server = serve(behaviour)
    for _ in range(300):
        assert failure(server.port, timeout_s=10).code in {"connection", "invalid_body", "302"}
