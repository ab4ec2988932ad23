"""What stands between the exporter and the sandbox: a proxy, and a server that speaks TLS."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.alerting.servers import HTTP, Answering, answered_by, free_address, process, until

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
def tls_front(to_url: str, context: ssl.SSLContext) -> Iterator[str]:
    """The URL of a server that hands on what comes in over TLS."""

    class Front(Answering):
        def respond(self) -> None:
            body = self.body() if self.command == "POST" else b""
            headers = {
                key: self.headers[key] for key in ("Authorization", "Content-Type") if key in self.headers
            }
            answer = HTTP.request(self.command, f"{to_url}{self.path}", headers=headers, content=body)
            self.answer(answer.status_code, answer.content, Content_Type=answer.headers["Content-Type"])

    with answered_by(Front, context) as url:
        yield url
