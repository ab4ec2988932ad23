"""Real servers on free ports of the loopback: Prometheus, Alertmanager, and a receiver of its webhooks."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

START_S = 30.0
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""For all requests to what runs on this machine: `httpx.get` takes 30 ms to prepare for TLS each time."""


@contextmanager
def alertmanager(config: Path, folder: Path, address: str | None = None) -> Iterator[str]:
    """Its URL. Alone: no cluster."""
    flags = (f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=")
    with _server("prometheus-alertmanager", config, folder, address, *flags) as url:
        yield url


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[str]:
    """Its URL."""
    flag = f"--storage.tsdb.path={folder / 'prometheus'}"
    with _server("prometheus", config, folder, None, flag, "--rules.alert.resend-delay=1s") as url:
        yield url


@contextmanager
def _server(program: str, config: Path, folder: Path, address: str | None, *flags: str) -> Iterator[str]:
    address = address or free_address()
    command = [program, f"--config.file={config}", f"--web.listen-address={address}", *flags]
    with process(command, folder / f"{program}.log"):
        until(lambda: ready(f"http://{address}/-/ready"))
        yield f"http://{address}"


class Answering(BaseHTTPRequestHandler):
    """What a server does with a request, without a line for each; to be derived from."""

    def do_GET(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def respond(self) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answered_by(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server with a thread for each connection."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL, and what has been sent to it so far."""
    received: list[dict[str, Any]] = []

    class Receiving(Answering):
        def respond(self) -> None:
            received.append({"path": self.path, **json.loads(self.body())})
            self.answer(200, b"")

    with answered_by(Receiving) as url:
        yield url, received


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips a test where one of the programs is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not on this machine: {', '.join(missing)}")


def accepted(*command: str | Path, folder: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def until(holds: Callable[[], bool], within_s: float = START_S, every_s: float = 0.1) -> None:
    """Waits for another process; fails when it takes longer than `within_s`."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)


def ready(url: str) -> bool:
    try:
        return HTTP.get(url).status_code == 200
    except httpx.TransportError:
        return False


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
