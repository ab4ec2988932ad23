"""Authentication, rate limit and headers of the web configuration, as middleware around the application."""

import time
from collections.abc import Callable

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infobip_exporter.web.app import HEALTHY
from infobip_exporter.web.basic_auth import BasicAuth, Verdict, credentials
from infobip_exporter.web.web_config import RateLimit, WebConfig

REPORT_EVERY_S = 60.0
"""Wrong passwords are logged at most so often."""

_log = structlog.get_logger()


class Guard:
    """`app` for those who may use it. `config` gives the web configuration in force. Belongs to the event loop."""

    def __init__(
        self, app: ASGIApp, config: Callable[[], WebConfig], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._config = config
        self._clock = clock
        self._as_of = WebConfig()
        self._auth: BasicAuth | None = None
        self._limit: Bucket | None = None
        self._wrong = _WrongPasswords(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._follow(self._config())
        refusal = None if scope["path"] == HEALTHY else await self._refusal(scope)
        await (refusal or self._app)(scope, receive, self._with_headers(send))

    def _follow(self, config: WebConfig) -> None:
        before, self._as_of = self._as_of, config
        if config.users != before.users:
            if self._auth:
                self._auth.change_users(config.users)  # the last user goes with a restart only
            else:
                self._auth = BasicAuth(config.users)
        if config.rate_limit != before.rate_limit:
            self._limit = Bucket(config.rate_limit, self._clock()) if config.rate_limit else None

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
                return _refused(401, "Authentication required.\n", {"www-authenticate": realm})
        wait_s = self._limit.wait_s(self._clock()) if self._limit else 0.0
        if wait_s > 0:
            retry_after = {"retry-after": str(int(wait_s) + 1)}
            return _refused(429, "More requests than the rate limit allows; try again.\n", retry_after)
        return None

    def _with_headers(self, send: Send) -> Send:
        ours = [(name.lower().encode(), text.encode()) for name, text in self._as_of.headers.items()]
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


class _WrongPasswords:
    """Those since the last line about them. No user's name: it may be a password in the wrong field."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._count = 0
        self._reported_s = float("-inf")

    def add(self, client: str) -> None:
        self._count += 1
        if self._clock() - self._reported_s >= REPORT_EVERY_S:
            _log.warning("wrong user or password", client=client or "unix socket", count=self._count)
            self._count, self._reported_s = 0, self._clock()


def _refused(status: int, text: str, headers: dict[str, str]) -> Response:
    fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(text, status, headers | fixed, "text/plain")
