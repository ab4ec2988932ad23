"""A way to a server on a unix socket that can be cut, and that can be slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Relay:
    """Passes on what is sent between `folder` and `target`, both folders with PostgreSQL's socket."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.delay_s = 0.0
        """How long each answer is held back."""
        self._target = target / SOCKET
        self._cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
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
            server = socket.socket(socket.AF_UNIX)
            try:
                if self._cut:
                    raise ConnectionRefusedError
                server.connect(str(self._target))
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


@contextmanager
def relay(folder: Path, target: Path) -> Iterator[Relay]:
    folder.mkdir(exist_ok=True)
    running = Relay(folder, target)
    try:
        yield running
    finally:
        running.close()
