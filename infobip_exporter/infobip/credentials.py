"""The API key: given in the configuration, or read from a file that may change while the exporter runs."""

import os
from pathlib import Path
from typing import Protocol

import structlog

from infobip_exporter.config.files import read_file
from infobip_exporter.config.rules import in_quotes
from infobip_exporter.config.schema import Account
from infobip_exporter.errors import ExporterError
from infobip_exporter.model.secret import Secret

_LARGEST_FILE = 8192
_log = structlog.get_logger()

_Stamp = tuple[int, int, int]


class CredentialsError(ExporterError):
    """There is no key to ask with. The text says where it should be; it holds nothing of what is there."""


class Credentials(Protocol):
    """Where the key comes from."""

    def key(self) -> Secret:
        """The key to use now. Raises CredentialsError where there is none."""

    def refused(self) -> None:
        """The API answered 401 to the key: look for a newer one before the next question."""

    def renewed(self) -> bool:
        """Whether there may be another key than at the last look. Cheap."""


def credentials_of(account: Account) -> Credentials:
    """The credentials that `account` is configured with."""
    if account.api_key_file is not None:
        return KeyFile(account.api_key_file)
    return GivenKey(account.api_key or Secret(""))


class GivenKey:
    """A key from the configuration."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def key(self) -> Secret:
        return _checked(self._key.reveal(), "api_key")

    def refused(self) -> None:
        """Nothing to look for: a given key stays the same."""

    def renewed(self) -> bool:
        """Never."""
        return False


class KeyFile:
    """A key in a file, read again when the file changes and after a refusal.

    The last good key stays in use while the file can't be read, say because it is just being replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: Secret | None = None
        self._stamp: _Stamp | None = None
        """Of the file that `_key` was read from."""
        self._looked: _Stamp | None = None
        """Of the file at the last look, whatever was in it; None where there was none."""
        self._warned = False

    def key(self) -> Secret:
        try:
            self._read_if_changed()
        except CredentialsError as error:
            if self._key is None:
                raise
            self._warn_once(error)
            return self._key
        assert self._key is not None  # noqa: S101 - it was read now or before, or there was an error
        self._warned = False
        return self._key

    def refused(self) -> None:
        self._stamp = None

    def renewed(self) -> bool:
        try:
            return _stamp(self._path.stat()) != self._looked
        except OSError:
            return False

    def _read_if_changed(self) -> None:
        self._looked = None
        try:
            self._looked = stamp = _stamp(self._path.stat())
            if stamp == self._stamp:
                return
            content = read_file(self._path, _LARGEST_FILE + 1)
        except OSError as error:
            raise CredentialsError(f"api_key_file {self._path}: {error.strerror or 'not readable'}") from None
        if len(content) > _LARGEST_FILE:
            raise CredentialsError(f"api_key_file {self._path}: too large to be a key")
        self._key = _checked(content.decode("utf-8-sig", "replace"), f"api_key_file {self._path}")
        self._stamp = stamp

    def _warn_once(self, error: CredentialsError) -> None:
        if not self._warned:
            _log.warning("the key file can't be read, using the last key", error=str(error))
            self._warned = True


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _checked(text: str, place: str) -> Secret:
    """The key in `text`. Anything that no HTTP header could carry is refused here, where no error shows the key."""
    key = text.strip()
    if not key:
        raise CredentialsError(f"{place}: is empty")
    if key.lower().startswith("app "):
        raise CredentialsError(f'{place}: must be the key alone; leave out "App " at its beginning')
    if in_quotes(key):
        raise CredentialsError(f"{place}: must be the key alone, without the quotes around it")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CredentialsError(
            f"{place}: holds more than a key (spaces, lines or characters that no key has)"
        )
    return Secret(key)
