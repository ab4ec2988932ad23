"""The web configuration kept up to date with its file, and with the certificates that it names."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from infobip_exporter.config.files import stamp_of
from infobip_exporter.errors import ConfigError
from infobip_exporter.web.tls import Tls
from infobip_exporter.web.web_config import WebConfig, load_web_config

LOOK_EVERY_S = 1.0
"""How often the files are looked at; a change is taken up once they have stayed the same for so long."""

_log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int] | None, ...]


class WebConfigFile:
    """What the file `path` asks for. Raises ConfigError where it is wrong from the start.

    Later the last sound configuration stays in force while the file is wrong.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reported = ""
        self.config, self._read = self._load()
        self._seen = self._read
        self._warn(WebConfig())

    @property
    def tls(self) -> Callable[[], Tls] | None:
        """Gives what a new connection is secured with; None for plain HTTP, which stays so to the end."""
        return self._tls if self.config.tls else None

    def _tls(self) -> Tls:
        tls = self.config.tls
        assert tls is not None  # noqa: S101 - it can be changed, but not taken away
        return tls

    async def keep_up_to_date(self) -> None:
        """Look at the files for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # noqa: BLE001 - whatever it was, the last configuration stays
                _log.exception("internal error while reading the web configuration, keeping the last one")

    def look(self) -> None:
        """Read the files again if they have changed, and have stayed the same since the last look. Any thread."""
        stamp = self._stamp(self.config)
        is_settled, self._seen = stamp == self._seen, stamp
        if not is_settled or (stamp == self._read and not self._reported):
            return
        try:
            config, stamp = self._load()
            self._check_kept(config)
        except ConfigError as error:
            if str(error) != self._reported:
                _log.error("the web configuration is wrong, keeping the last one", error=str(error))
                self._reported = str(error)
            return
        self._seen = self._read = stamp
        self._reported = ""
        before, self.config = self.config, config
        self._warn(before)
        _log.info("the web configuration was read again", file=str(self._path))

    def _load(self) -> tuple[WebConfig, _Stamp]:
        """What the files hold, and their stamp from before they were read: what changes meanwhile is read again."""
        named = load_web_config(self._path)  # which files there are is known only now
        stamp = self._stamp(named)
        return load_web_config(self._path), stamp

    def _stamp(self, config: WebConfig) -> _Stamp:
        """What is different as soon as a file is."""
        return tuple(map(_stamp, (self._path, *(config.tls.files if config.tls else ()))))

    def _check_kept(self, config: WebConfig) -> None:
        """A file that is empty for a moment opens nothing: what protects is taken away by a restart only."""
        problems = []
        if (config.tls is None) != (self.config.tls is None):
            problems.append("tls_server_config: TLS begins and ends with a restart")
        elif config.tls and self.config.tls and config.tls.is_expired and not self.config.tls.is_expired:
            problems.append("tls_server_config.cert_file: has expired")
        if self.config.users and not config.users:
            problems.append("basic_auth_users: the last user goes with a restart")
        if problems:
            raise ConfigError([f"{self._path}: {problem}" for problem in problems])

    def _warn(self, before: WebConfig) -> None:
        if self.config.notes != before.notes:
            for note in self.config.notes:
                _log.warning(note)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
