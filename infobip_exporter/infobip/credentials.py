"""What a request authenticates with: given in the configuration, or read from a file that may change meanwhile."""

import base64
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from infobip_exporter.config.files import read_file
from infobip_exporter.errors import ExporterError
from infobip_exporter.model.secret import Secret

_LARGEST_FILE = 8192
_log = structlog.get_logger()


class CredentialsError(ExporterError):
    """There is no secret to ask with. The text says where it should be; it holds nothing of what is there."""


class Credentials(Protocol):
    """What goes into the header Authorization, shared by the channels of an account."""

    refusal: str
    """What a 401 means."""

    async def prepare(self) -> None:
        """Get what has to be asked for before a request can be made. Raises TokenFailed."""

    def header(self) -> Secret:
        """The header to use now. Raises CredentialsError where there is no secret."""

    def refused(self, header: Secret) -> None:
        """The API answered 401 to `header`: look for another one before the next request."""

    def renewed(self, header: Secret | None) -> bool:
        """Whether another header than this one, the last that was refused, may be had at once. Cheap."""

    def unspeakable(self) -> tuple[str, ...]:
        """What no text may repeat."""


Source = Callable[[], Secret]
"""Where a secret comes from. Raises CredentialsError where there is none."""


class SecretFile:
    """A secret in a file, read whenever it is needed.

    The last good one stays in use while the file can't be read, say because it is just being replaced. `name` is the
    key of the configuration, `rule` what the secret may be.
    """

    def __init__(self, path: Path, name: str, rule: Callable[[str], Secret]) -> None:
        self._path = path
        self._place = f"{name} {path}"
        self._rule = rule
        self._secret: Secret | None = None
        self._warned = False

    def __call__(self) -> Secret:
        try:
            secret = self._read()
        except CredentialsError as error:
            if self._secret is None:
                raise
            if not self._warned:
                _log.warning("the key file can't be read, using the last key", error=str(error))
            self._warned = True
        else:
            if secret != self._secret:
                warn_if_all_may_read(self._path, self._place)
            self._secret, self._warned = secret, False
        return self._secret

    def _read(self) -> Secret:
        try:
            content = read_file(self._path, _LARGEST_FILE + 1)
        except OSError as error:
            raise CredentialsError(f"{self._place}: {error.strerror or 'not readable'}") from None
        if len(content) > _LARGEST_FILE:
            raise CredentialsError(f"{self._place}: too large to be a key")
        try:
            # What no HTTP header could carry is refused here, where no error shows it.
            return self._rule(content.decode("utf-8-sig", "replace").strip())
        except ValueError as error:
            raise CredentialsError(f"{self._place}: {error}") from None


def fixed(secret: Secret) -> Source:
    """A secret of the configuration."""
    return lambda: secret


def source_of(secret: Secret | None, file: Path | None, name: str, rule: Callable[[str], Secret]) -> Source:
    """The secret that the configuration gives, or the file that its key `name` names."""
    return fixed(secret) if secret else SecretFile(file or Path(), name, rule)


class HeaderCredentials:
    """A secret that is sent with each request, in the form that `write` gives it: an API key, a password, a token."""

    def __init__(self, source: Source, write: Callable[[str], str], refusal: str) -> None:
        self._source = source
        self._write = write
        self._secret = Secret("")
        """The last one that was written."""
        self.refusal = refusal

    async def prepare(self) -> None:
        """Nothing: the secret is there."""

    def header(self) -> Secret:
        self._secret = self._source()
        return Secret(self._write(self._secret.reveal()))

    def refused(self, _header: Secret) -> None:
        """Nothing: the source is asked each time."""

    def renewed(self, header: Secret | None) -> bool:
        try:
            return self.header() != header
        except CredentialsError:
            return False

    def unspeakable(self) -> tuple[str, ...]:
        secret = self._secret.reveal()
        return secret, self._write(secret).partition(" ")[2]


def api_key(source: Source) -> HeaderCredentials:
    return HeaderCredentials(source, "App {}".format, "the API key is wrong or no longer valid")


def basic_auth(username: str, source: Source) -> HeaderCredentials:
    def write(password: str) -> str:
        return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"

    return HeaderCredentials(source, write, "the username or the password is wrong")


def authorization(scheme: str, source: Source) -> HeaderCredentials:
    refusal = (
        "the session has ended, as sessions do after a time without use"
        if scheme.upper() == IBSSO
        else "the credentials are wrong or no longer valid"
    )
    return HeaderCredentials(source, f"{scheme} {{}}".format, refusal)


IBSSO = "IBSSO"
"""The scheme of Infobip's session tokens."""


def warn_if_all_may_read(path: Path, place: str) -> None:
    """Log where a file with a secret is not kept to its owner and group."""
    with suppress(OSError):  # it has gone meanwhile
        if path.stat().st_mode & stat.S_IROTH:
            _log.warning(
                "a file with a secret can be read by every user of this machine: chmod o-r", file=place
            )
