"""What the web configuration asks of whoever comes in, kept up to date with its file, and put around the application."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infobip_exporter.errors import ConfigError
from infobip_exporter.web.basic_auth import BasicAuth, Verdict, credentials
from infobip_exporter.web.tls import Tls
from infobip_exporter.web.web_config import RateLimit, WebConfig, load_web_config

LOOK_EVERY_S = 1.0
"""How often the files are looked at; a change is taken up once they have stayed the same for so long."""

OPEN = "/-/healthy"
"""What is answered to everybody and never limited: whoever asks it may restart us for want of an answer."""

TELL_EVERY_S = 60.0
"""Wrong passwords are told in the log at most so often."""

_log = structlog.get_logger()

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Door:
    """What `path` asks for now. Raises ConfigError where it is wrong from the start; later the last sound one holds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, "passwords")
        self._wrong = _Tally(clock)
        self._config = WebConfig()
        self._told = ""
        config, self._read = self._load()
        self._seen = self._read
        self._take(config)

    @property
    def config(self) -> WebConfig:
        return self._config

    @property
    def tls(self) -> Callable[[], Tls] | None:
        """Gives what a new connection is secured with; None for plain HTTP, which stays so to the end."""
        return self._tls if self._config.tls else None

    def _tls(self) -> Tls:
        tls = self._config.tls
        assert tls is not None  # noqa: S101 - it can be changed, but not taken away
        return tls

    def look(self) -> None:
        """Read the files again if they have changed, and have stayed the same since the last look. Any thread."""
        stamp = self._stamp(self._config)
        is_settled, self._seen = stamp == self._seen, stamp
        if not is_settled or (stamp == self._read and not self._told):
            return
        try:
            config, stamp = self._load()
            self._check_kept(config)
        except ConfigError as error:
            if str(error) != self._told:
                _log.error("the web configuration is wrong, the last one holds", error=str(error))
                self._told = str(error)
            return
        self._seen = self._read = stamp
        self._told = ""
        self._take(config)
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
        """A file that is empty for a moment must not open the door: what protects is taken away by a restart only."""
        problems = []
        if (config.tls is None) != (self._config.tls is None):
            problems.append("tls_server_config: TLS begins and ends with a restart")
        if self._config.users and not config.users:
            problems.append("basic_auth_users: the last user goes with a restart")
        if problems:
            raise ConfigError([f"{self._path}: {problem}" for problem in problems])

    def _take(self, config: WebConfig) -> None:
        before, self._config = self._config, config
        if config.users != before.users:
            self._auth = BasicAuth(config.users, self._worker) if config.users else None
        if config.rate_limit != before.rate_limit:
            self._limit = Bucket(config.rate_limit, self._clock()) if config.rate_limit else None
        if config.notes != before.notes:
            for note in config.notes:
                _log.warning(note)

    _auth: BasicAuth | None = None
    _limit: "Bucket | None" = None

    # Around the application

    def guard(self, app: ASGIApp) -> ASGIApp:
        """`app` for those who may come in. It keeps the files in view for as long as `app` lives."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                looking = asyncio.create_task(self._keep_looking())
                try:
                    await app(scope, receive, send)
                finally:
                    looking.cancel()
                return
            refusal = None if scope["path"] == OPEN else await self._refusal(scope)
            await (refusal or app)(scope, receive, self._with_headers(send))

        return guarded

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # noqa: BLE001 - whatever it was, the door stays as it is
                _log.exception("the web configuration can't be looked at, the last one holds")

    async def _refusal(self, scope: Scope) -> Response | None:
        if self._auth is not None:
            client = (scope.get("client") or ("",))[0]
            given = credentials(scope["headers"])
            verdict = await self._auth.verdict(*given, client) if given else Verdict.WRONG
            if verdict is Verdict.BUSY:
                return _refused(429, "Too many passwords to check; try again.\n", {"retry-after": "2"})
            if verdict is Verdict.WRONG:
                if given:
                    self._wrong.add(client)
                realm = 'Basic realm="infobip-exporter", charset="UTF-8"'
                return _refused(401, "User and password, please.\n", {"www-authenticate": realm})
        wait_s = self._limit.wait_s(self._clock()) if self._limit else 0.0
        if wait_s > 0:
            retry_after = {"retry-after": str(int(wait_s) + 1)}
            return _refused(429, "More requests than the rate limit allows; try again.\n", retry_after)
        return None

    def _with_headers(self, send: Send) -> Send:
        ours = [(name.lower().encode(), text.encode()) for name, text in self._config.headers.items()]
        if not ours:
            return send
        names = {name for name, _ in ours}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [header for header in message["headers"] if header[0].lower() not in names]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        return send_with_headers


class Bucket:
    """A token bucket: full at the start, one more in each interval."""

    def __init__(self, limit: RateLimit, now_s: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._as_of_s = now_s

    def wait_s(self, now_s: float) -> float:
        """0 and a token taken, or the seconds until there is one."""
        gained = (now_s - self._as_of_s) / self._limit.interval_s
        self._tokens = min(self._limit.burst, self._tokens + gained)
        self._as_of_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) * self._limit.interval_s


class _Tally:
    """Wrong passwords since the log last told of them. No user's name: it may be a password in the wrong field."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._count = 0
        self._told_s = float("-inf")

    def add(self, client: str) -> None:
        self._count += 1
        if self._clock() - self._told_s >= TELL_EVERY_S:
            _log.warning("wrong user or password", client=client or "unix socket", count=self._count)
            self._count, self._told_s = 0, self._clock()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _refused(status: int, text: str, headers: dict[str, str]) -> Response:
    fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(text, status, headers | fixed, "text/plain")
