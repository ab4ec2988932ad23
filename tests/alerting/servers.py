"""Real servers on free ports of the loopback: Prometheus, Alertmanager, and a receiver of its webhooks."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

START_S = 30.0
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""For all requests to what runs on this machine: `httpx.get` takes 30 ms to prepare for TLS each time."""
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""For all requests to what runs on this machine: `httpx.get` takes 30 ms to prepare for TLS each time."""
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""For all requests to what runs on this machine: `httpx.get` takes 30 ms to prepare for TLS each time."""


@contextmanager
def alertmanager(config: Path, folder: Path, address: str | None = None) -> Iterator[str]:
    """Its URL. Alone: no cluster."""
    address = address or free_address()
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with process(command, folder / "alertmanager.log"):
        until(lambda: ready(f"http://{address}/-/ready"))
        yield f"http://{address}"


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[str]:
    """Its URL."""
    address = free_address()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
        "--rules.alert.resend-delay=1s",
    ]
    with process(command, folder / "prometheus.log"):
        until(lambda: ready(f"http://{address}/-/ready"))
        yield f"http://{address}"


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL, and what has been sent to it so far."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append({"path": self.path, **body})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()


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
