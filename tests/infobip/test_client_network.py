"""The client against real sockets that do what servers must not do."""

import gzip
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme

from infobip_exporter.errors import ConfigError, RequestFailed
from infobip_exporter.infobip.client import LARGEST_BODY, Client
from infobip_exporter.infobip.credentials import GivenKey
from infobip_exporter.infobip.query import Query
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
    credentials = GivenKey(Secret("key"))
    return Client(base_url.format(port=port), "/instagram/1/logs", credentials, {}, timeout_s)


def failure(port: int, **changes: Any) -> RequestFailed:
    asking = client(port, **changes)
    with pytest.raises(RequestFailed) as failed:
        asking.ask(Query())
    asking.close()
    return failed.value


def test_a_good_server_is_read_over_one_connection(serve: Callable[..., Server]) -> None:
    def behaviour(connection: socket.socket) -> None:
        for _ in range(3):
            read_request(connection)
            connection.sendall(GOOD)

    server = serve(behaviour)
    asking = client(server.port, timeout_s=10)
    for _ in range(3):
        assert asking.ask(Query()).page.rows == 0
    asking.close()
    assert server.connections == 1


def test_a_connection_that_the_server_gave_up_is_replaced(serve: Callable[..., Server]) -> None:
    server = serve(answering(GOOD))
    asking = client(server.port, timeout_s=10)
    for _ in range(3):
        assert asking.ask(Query()).page.rows == 0
        assert server.ended.acquire(timeout=10)
    asking.close()
    assert server.connections == 3


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
    assert TIMEOUT_S <= failed.took_s <= time.monotonic() - started < TIMEOUT_S + 0.5


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
    asking = client(serve(answering(GOOD), tls).port, base_url="https://localhost:{port}", timeout_s=10)
    assert asking.ask(Query()).page.rows == 0
    asking.close()


def test_a_body_that_unpacks_to_more_than_may_be_is_invalid(serve: Callable[..., Server]) -> None:
    packed = gzip.compress(b" " * (LARGEST_BODY + 1))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    failed = failure(serve(answering(head + packed)).port, timeout_s=30)
    assert failed.code == "invalid_body"
    assert "64 MiB" in failed.text


def test_a_body_without_a_length_is_cut_where_the_connection_ends(serve: Callable[..., Server]) -> None:
    failed = failure(serve(answering(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:-1])).port, timeout_s=10)
    assert failed.code == "invalid_body"


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
def test_closing_ends_the_question_under_way(
    serve: Callable[..., Server], tls: ssl.SSLContext, over_tls: bool
) -> None:
    asked = threading.Event()

    def behaviour(connection: socket.socket) -> None:
        read_request(connection)
        asked.set()
        silent(connection)

    server = serve(behaviour, tls if over_tls else None)
    url = "https://localhost:{port}" if over_tls else "http://127.0.0.1:{port}"
    asking = client(server.port, base_url=url, timeout_s=60)
    failures: list[RequestFailed] = []

    def ask() -> None:
        try:
            asking.ask(Query())
        except RequestFailed as failed:
            failures.append(failed)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(10)
    asking.close()
    thread.join(5)
    assert not thread.is_alive()
    assert [failed.code for failed in failures] == ["connection"]


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


def test_a_name_server_that_hangs_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang() -> list[str]:
        released.wait(30)
        return []

    look_up_as(monkeypatch, hang)
    failed = failure(1, base_url="http://api.test:{port}")
    released.set()
    assert failed.code == "timeout"
    assert failed.took_s < TIMEOUT_S + 0.5


def test_a_name_that_can_be_none_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise UnicodeError("label too long")

    look_up_as(monkeypatch, refuse)
    assert failure(1, base_url="http://api.test:{port}").code == "connection"


def test_a_name_without_an_address_is_a_connection_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up_as(monkeypatch, list)
    assert failure(1, base_url="http://api.test:{port}").code == "connection"


def test_each_address_gets_a_share_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Dead(httpcore.SyncBackend):
        def connect_tcp(self, host: str, port: int, timeout: float | None = None, *rest: Any) -> Any:
            assert timeout is not None
            shares.append(timeout)
            raise httpcore.ConnectTimeout

    monkeypatch.setattr(httpcore, "SyncBackend", Dead)
    look_up_as(monkeypatch, lambda: ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    credentials = GivenKey(Secret("key"))
    asking = Client("http://api.test", "/x", credentials, {}, 30.0, clock=lambda: 0.0)
    with pytest.raises(RequestFailed, match="timeout"):
        asking.ask(Query())
    assert shares == [10.0, 15.0, 30.0]


def test_an_address_that_is_dead_leaves_time_for_the_next(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up_as(monkeypatch, lambda: ["127.0.0.2", "127.0.0.1"])
    asking = client(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)
    assert asking.ask(Query()).page.rows == 0
    asking.close()


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
    asking = client(80, base_url="http://api.test", timeout_s=10)
    asking.ask(Query())
    asking.close()
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
    asking = client(443, base_url="https://api.test", timeout_s=10)
    asking.ask(Query())
    asking.close()
    assert requests[0].startswith(b"CONNECT api.test:443 ")
    assert b"App key" not in requests[0]
    assert b"Authorization: App key\r\n" in requests[1]


def test_no_proxy_stands_between_this_machine_and_itself(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = serve(answering(GOOD))
    for host in ("127.0.0.1", "localhost"):
        asking = client(server.port, base_url=f"http://{host}:{{port}}", timeout_s=10)
        assert asking.ask(Query()).page.rows == 0
        asking.close()


def test_a_host_that_is_excepted_from_the_proxy_is_asked_directly(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", ".test")
    look_up_as(monkeypatch, lambda: ["127.0.0.1"])
    asking = client(serve(answering(GOOD)).port, base_url="http://api.test:{port}", timeout_s=10)
    assert asking.ask(Query()).page.rows == 0
    asking.close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "ftp://x", "http://"])
def test_a_proxy_that_cannot_be_used_is_a_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
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
        asking = client(server.port, timeout_s=10)
        with pytest.raises(RequestFailed) as failed:
            asking.ask(Query())
        asking.close()
        assert failed.value.code in {"connection", "invalid_body", "302"}
