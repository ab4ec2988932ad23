"""Writing log lines beside the work: a bounded queue, and a thread that writes. Nobody waits for it."""

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO

MOST_WAITING = 1000
"""Lines that may wait to be written. A line takes 20 µs to make and the writer's turn comes within 3 ms, so that fewer
than 200 wait while the output takes them; the longest, tracebacks of some 10 kB, keep this below 10 MB."""


class LogWriter:
    """Writes the lines that it is given to `stream`; None is a stream that was closed before the start.

    What can't be written, or comes while the queue is full, is dropped and counted. When lines are written again,
    the line that `tell` makes of the number of dropped ones follows them.
    """

    def __init__(self, stream: TextIO | None, tell: Callable[[int], str], dropped: int = 0) -> None:
        self.stream = stream
        self.tell = tell
        self.dropped = dropped
        """Lines dropped so far."""
        self._told = dropped
        # Re-entrant, like SimpleQueue: a signal's handler may log while its own thread does.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[str | threading.Event | None] = SimpleQueue()
        self._descriptor = _descriptor(stream)
        self._is_torn = False
        """Whether the output ends with a part of a line."""
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def msg(self, line: str) -> None:
        """Have `line` written. Returns at once, and raises nothing."""
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put(line)
        else:
            self.drop()

    debug = info = warning = error = critical = msg  # as structlog calls it

    def drop(self) -> None:
        """Count a line that is not written."""
        with self._lock:
            self.dropped += 1

    def flush(self, within_s: float) -> None:
        """Wait until all lines given so far are written or dropped, for `within_s` at most."""
        done = threading.Event()
        self._queue.put(done)
        done.wait(within_s)

    def end(self) -> None:
        """End the thread once it has written what it was given."""
        self._queue.put(None)

    def _work(self) -> None:
        works = False
        while (item := self._queue.get()) is not None:
            if isinstance(item, str):
                works = self._write(item)
                if not works:
                    self.drop()
            if works and self._queue.empty():
                self._tell_of_dropped()
            if isinstance(item, threading.Event):
                item.set()

    def _tell_of_dropped(self) -> None:
        count = self.dropped - self._told
        if count and self._write(self.tell(count)):
            self._told += count

    def _write(self, line: str) -> bool:
        """Whether the line could be written."""
        try:
            if self._descriptor is not None:
                self._write_bytes(self._descriptor, f"{line}\n".encode("utf-8", "backslashreplace"))
            elif self.stream is not None:
                self.stream.write(f"{line}\n")
        except (OSError, ValueError):  # ValueError: a stream in memory that was closed
            return False
        return self.stream is not None

    def _write_bytes(self, descriptor: int, data: bytes) -> None:
        # Past Python's own buffer: that keeps what could not be written, and its lock would hold up the interpreter's
        # end while this thread waits for a pipe that nobody reads.
        if self._is_torn:
            data = b"\n" + data
        rest = data
        try:
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except BlockingIOError:  # another program that has it open made it so
                    select.select([], [descriptor], [])
        finally:
            if len(rest) < len(data):
                self._is_torn = bool(rest)


def _descriptor(stream: TextIO | None) -> int | None:
    """The file descriptor behind `stream`; None for a stream in memory."""
    with suppress(AttributeError, OSError, ValueError):
        return None if stream is None else stream.fileno()
    return None
