"""Reading the files that a configuration is made of."""

import errno
import os
import stat
from pathlib import Path

from infobip_exporter.errors import ConfigError

MAX_CHARACTERS = 256 * 1024
"""The longest text that is a configuration: enough for a thousand accounts."""


def read_file(path: str | Path, most: int) -> bytes:
    """The first `most` bytes of the file `path`. Raises OSError, also for anything but a regular file.

    A named pipe would keep whoever opens it waiting for a writer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file does."""
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_text(path: str | Path, absent: str = "") -> str:
    """The text of a configuration. ConfigError where there is none; `absent` says what to do without the file."""
    try:
        return read_file(path, 4 * MAX_CHARACTERS + 1).decode()
    except OSError as error:
        if absent and isinstance(error, FileNotFoundError):
            raise ConfigError([f"{path}: {absent}"]) from None
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
