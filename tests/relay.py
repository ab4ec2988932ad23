"""A way to a server that can be cut, and that can be slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


Place = str | tuple[str, int]
"""A unix socket's path, or host and port."""


class Relay:
    """Passes on what is sent between whoever connects to `place` and the server at `target`."""

    def __init__(self, place: Place, target: Place) -> None:
        self.delay_s = 0.0
        """How long each answer is held back."""
        self._target = target
        self._cut = False
        self._open: list[socket.socket] = []
        self._listener = _socket(place)
        self._listener.bind(place)
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection and let none begin."""
        self._cut = True
        self._close_all()

    def mend(self) -> None:
        self._cut = False

    def close(self) -> None:
        self._cut = True
        self._listener.close()
        self._close_all()

    def _close_all(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = _socket(self._target)
            try:
                if self._cut:
                    raise ConnectionRefusedError
                server.connect(self._target)
            except OSError:
                client.close()
                server.close()
                continue
            self._open += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if answers and self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _socket(place: Place) -> socket.socket:
    return socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET)


@contextmanager
def relay(place: Place, target: Place) -> Iterator[Relay]:
    running = Relay(place, target)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def database_relay(folder: Path, target: Path) -> Iterator[Relay]:
    """To the PostgreSQL whose socket is in the folder `target`, by way of one in `folder`."""
    folder.mkdir(exist_ok=True)
    with relay(str(folder / SOCKET), str(target / SOCKET)) as running:
        yield running
