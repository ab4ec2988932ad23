"""What stands between the exporter and the sandbox: a proxy, and a server that speaks TLS."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.alerting.servers import HTTP, free_address, process, until

USER, PASSWORD = "exporter", "pr0xy-p4ssw0rd"


class Tinyproxy:
    """Debian's tinyproxy, which wants a user and a password."""

    def __init__(self, address: str, log: Path) -> None:
        self.url = f"http://{USER}:{PASSWORD}@{address}"
        self._log = log

    def asked_for(self) -> str:
        """What it was asked for so far, a line each."""
        return "\n".join(line for line in self._log.read_text().splitlines() if "Request" in line)


@contextmanager
def tinyproxy(folder: Path) -> Iterator[Tinyproxy]:
    folder.mkdir(exist_ok=True)
    address = free_address()
    host, port = address.split(":")
    config, log = folder / "tinyproxy.conf", folder / "tinyproxy.log"
    config.write_text(
        f"Listen {host}\nPort {port}\nTimeout 60\nLogLevel Connect\nBasicAuth {USER} {PASSWORD}\n"
    )
    with process(["tinyproxy", "-d", "-c", str(config)], log):
        until(lambda: _listens(address))
        yield Tinyproxy(address, log)


def _listens(address: str) -> bool:
    try:
        HTTP.get(f"http://{address}/")
    except httpx.TransportError:
        return False
    return True


@contextmanager
def tls_front(to_url: str, context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that hands on what comes in over TLS."""
    target = httpx.URL(to_url)

    class Front(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection((target.host, target.port or 80)) as inside,
            ):
                back = threading.Thread(target=_pass, args=(inside, outside), daemon=True)
                back.start()
                _pass(outside, inside)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Front) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _pass(source: socket.socket, to: socket.socket) -> None:
    """Hand on bytes until one of the two ends, then end both."""
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    for each in (source, to):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
