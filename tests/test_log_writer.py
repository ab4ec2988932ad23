"""A log output that can't be written holds up nobody, and says afterwards what is missing."""

import os
import threading
import time
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from infobip_exporter import logs
from infobip_exporter.config.schema import Log
from infobip_exporter.log_writer import MOST_WAITING, LogWriter
from infobip_exporter.model.secret import Secret

PATIENCE_S = 10.0


def told(count: int) -> str:
    return f"dropped {count}"


class Pipe:
    """A pipe that a writer writes into."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream: TextIO = os.fdopen(writing, "w")

    def fill(self) -> None:
        """Until nothing more goes into it."""
        os.set_blocking(self.stream.fileno(), False)
        try:
            while True:
                os.write(self.stream.fileno(), b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.stream.fileno(), True)

    def read_until(self, mark: bytes) -> bytes:
        received = b""
        while mark not in received:
            received += os.read(self.reading, 1 << 20)
        return received


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)
    pipe.stream.close()


def wait_until_dropped(writer: LogWriter, count: int) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while writer.dropped < count:
        assert time.monotonic() < ends_at
        threading.Event().wait(0.005)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_pipe_that_nobody_reads_blocks_nobody_and_what_is_missing_is_told_afterwards(
    pipe: Pipe, blocking: bool
) -> None:
    pipe.fill()
    os.set_blocking(pipe.stream.fileno(), blocking)
    writer = LogWriter(pipe.stream, told)
    began = time.monotonic()
    for number in range(MOST_WAITING + 50):
        writer.msg(f"line {number}")
    assert time.monotonic() - began < 10
    dropped = writer.dropped
    assert 49 <= dropped <= 50  # The writer may have taken one out of the queue.
    writer.flush(0.2)
    assert 0.2 <= time.monotonic() - began < 20
    lines = pipe.read_until(b"dropped %d\n" % dropped).decode().lstrip("x").splitlines()
    assert lines[:-1] == [f"line {number}" for number in range(MOST_WAITING + 50 - dropped)]
    writer.msg("further")
    assert pipe.read_until(b"further\n") == b"further\n"


def test_a_full_disk_drops_lines_until_there_is_room() -> None:
    full, room = os.open("/dev/full", os.O_WRONLY), os.pipe()
    with os.fdopen(full, "w") as stream:
        writer = LogWriter(stream, told)
        writer.msg("lost")
        writer.msg("lost")
        wait_until_dropped(writer, 2)
        os.dup2(room[1], full)
        writer.msg("written")
        writer.flush(PATIENCE_S)
        assert os.read(room[0], 1000) == b"written\ndropped 2\n"
        writer.msg("written")
        writer.flush(PATIENCE_S)
        assert os.read(room[0], 1000) == b"written\n"
    for descriptor in room:
        os.close(descriptor)


def test_a_line_that_was_written_in_part_does_not_run_into_the_next(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if b"half" not in data:
            return real(descriptor, data)
        if data.startswith(b"half"):
            return real(descriptor, data[:6])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    writer = LogWriter(pipe.stream, told)
    writer.msg("half a half")
    writer.msg("whole")
    writer.flush(PATIENCE_S)
    assert pipe.read_until(b"dropped 1\n") == b"half a\nwhole\ndropped 1\n"


def test_a_closed_standard_error_is_no_place_to_write_to() -> None:
    writer = LogWriter(None, told)
    writer.msg("line")
    writer.flush(PATIENCE_S)
    assert writer.dropped == 1


def test_half_a_character_is_written_as_its_escape(pipe: Pipe) -> None:
    writer = LogWriter(pipe.stream, told)
    writer.msg("a\udcffb")
    assert pipe.read_until(b"\n") == b"a\\udcffb\n"


# --- as the whole program logs ---


def test_what_was_dropped_is_told_in_the_format_of_the_log(pipe: Pipe) -> None:
    before = logs.lines_dropped()
    pipe.fill()
    logs.configure(Log(format="json"), pipe.stream)
    log = structlog.get_logger()
    for _ in range(MOST_WAITING + 50):
        log.info("line")
    dropped = logs.lines_dropped() - before
    assert dropped >= 49
    told = b'"level": "warn", "msg": "log lines could not be written, dropped", "lines": %d}\n' % dropped
    assert pipe.read_until(told).endswith(told)


def test_configuring_again_goes_on_with_the_same_thread_and_count(pipe: Pipe) -> None:
    logs.configure(Log(), pipe.stream)
    writer = logs._writer
    logs.configure(Log(), pipe.stream, [Secret("0123456789")])
    structlog.get_logger().info("the key 0123456789")
    assert pipe.read_until(b"\n").endswith(b'msg="the key <secret>"\n')
    assert logs._writer is writer


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
def test_a_value_that_can_not_be_shown_raises_nothing_into_the_work(pipe: Pipe, form: str) -> None:
    logs.configure(Log(format=form), pipe.stream)
    before = logs.lines_dropped()
    structlog.get_logger().info("line", value=Odd(), values=[Odd()])
    assert logs.lines_dropped() - before <= 1
    structlog.get_logger().info("next")
    assert b"next" in pipe.read_until(b"next")
