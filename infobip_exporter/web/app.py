"""What is served where. Answers are made from values in memory: none waits for the API, the disk or a lock."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from infobip_exporter import logs
from infobip_exporter.errors import ExporterError
from infobip_exporter.metrics.process import Process
from infobip_exporter.metrics.render import OPEN_METRICS, TEXT, Feed, Renderer
from infobip_exporter.metrics.snapshot import FeedOwner, FeedSnapshot, Reloaded
from infobip_exporter.metrics.zero_start import Moment, ZeroStart
from infobip_exporter.web import status_page
from infobip_exporter.web.accept import accepts_gzip, wants_open_metrics
from infobip_exporter.web.connection import IS_TAKEN, TURN
from infobip_exporter.web.rendering import SharedRendering

GZIP_LEVEL = 1
"""The quickest: the page shrinks to a twentieth as it is."""

HEALTHY = "/-/healthy"
"""What is answered to everybody, whatever else is going on: whoever asks it may restart us for want of an answer."""

PLAIN = "text/plain; charset=utf-8"


class View(Protocol):
    """What the pages are made from. Every call returns at once, and may come from the web server's thread."""

    @property
    def version(self) -> str:
        """The exporter's."""

    @property
    def docs_url(self) -> str:
        """Where the documentation is; "" leaves the link out."""

    def snapshots(self) -> Sequence[FeedSnapshot]:
        """Each feed's latest snapshot, in the configuration's order."""

    def zero_starts(self) -> Mapping[tuple[str, str], ZeroStart]:
        """The zero starts of each feed, by account and channel."""

    def standby(self) -> int:
        """How many feeds of the configuration are not shown, because another replica shows them."""

    def owners(self) -> Sequence[FeedOwner] | None:
        """Who runs each feed, over all replicas; None where there is one process only."""

    def stalled(self) -> list[str]:
        """The feeds that make no progress though they should."""

    def ready(self) -> list[str]:
        """What has not been asked yet: feeds as `account/channel`, or the database; nothing when ready."""

    def now(self) -> Moment: ...

    @property
    def reloaded(self) -> Reloaded:
        """How the configuration was last read."""

    @property
    def process(self) -> Process:
        """The figures of the process."""


def create_app(
    view: View, reload: Callable[[], None] | None = None, allowed_hosts: Sequence[str] = ()
) -> ASGIApp:
    """The application that serves `view`. Authentication goes around it, as middleware.

    `reload` reads the configuration anew and waits for it; it raises an ExporterError that says why it was refused.
    None where that is not to be asked for over HTTP. With `allowed_hosts`, requests for other hosts are refused.
    """
    pages = _Pages(view)
    app = Starlette(
        routes=[
            Route("/metrics", pages.metrics),
            Route("/", pages.status),
            Route(HEALTHY, pages.healthy),
            Route("/-/ready", pages.ready),
            Route("/-/reload", _reloading(reload), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _not_served, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return _for_hosts(app, allowed_hosts) if allowed_hosts else app


def _reloading(reload: Callable[[], None] | None) -> Callable[[Request], Awaitable[Response]]:
    async def reloading(request: Request) -> Response:
        if reload is None:
            return _answer(
                "Reloading over HTTP is off; --web.enable-lifecycle allows it. SIGHUP always works.\n", 403
            )
        if _is_from_another_site(request):
            return _answer("Reloading from another site's page is refused.\n", 403)
        try:
            await asyncio.to_thread(reload)
        except ExporterError as error:
            return _answer(f"Reloading the configuration failed, keeping the old one:\n{error}\n", 500)
        except TimeoutError:
            return _answer("The reload is still under way; the log tells how it ends.\n", 504)
        return _answer("The configuration was reloaded.\n")

    return reloading


def _for_hosts(app: ASGIApp, allowed_hosts: Sequence[str]) -> ASGIApp:
    """`app` for requests whose Host is allowed. Health checks name an address as the host, so they are let through."""
    # An IPv6 address is in brackets in a header.
    hosts = [f"[{host}]" if ":" in host else host for host in allowed_hosts]
    guarded = TrustedHostMiddleware(app, hosts, www_redirect=False)

    async def by_path(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["path"] == HEALTHY else guarded)(scope, receive, send)

    return by_path


def _is_from_another_site(request: Request) -> bool:
    """Whether a browser sends `request` for a page of another origin (Fetch Metadata; RFC 6454, 7)."""
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return True
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


class _Rendered(NamedTuple):
    """A page, and what is to be done once a scraper has taken it."""

    body: bytes
    was_taken: Callable[[], None] = lambda: None


class _Page(Response):
    """A page that takes a turn to be made and sent. What it shows for the first time is held once it was taken."""

    def __init__(self, render: Callable[[], Awaitable[_Rendered]], headers: dict[str, str]) -> None:
        super().__init__()
        self._render = render
        self._fixed = _GUARDED | headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.get("state", {})
        async with state.get(TURN, _at_once)() as has_turn:
            if not has_turn:
                busy = _answer("Too many answers are under way; try again.\n", 503, {"retry-after": "1"})
                await busy(scope, receive, send)
                return
            rendered = await self._render()
            await Response(rendered.body, headers=self._fixed)(scope, receive, send)
            was_taken = rendered.was_taken
            del rendered  # it may be large, and the client may be slow
        if scope["method"] == "GET" and await state.get(IS_TAKEN, _always)():
            was_taken()


class _Pages:
    """What is answered about `view`."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._shared: SharedRendering[_Rendered] = SharedRendering()
        self._renderer = Renderer(view.version, view.process)

    async def metrics(self, request: Request) -> Response:
        open_metrics = wants_open_metrics(request.headers.get("accept", ""))
        zipped = accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {"content-type": OPEN_METRICS if open_metrics else TEXT, "vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["content-encoding"] = "gzip"
        render = partial(self._render, open_metrics=open_metrics, zipped=zipped)
        return _Page(lambda: self._shared.get((open_metrics, zipped), render), headers)

    def _render(self, *, open_metrics: bool, zipped: bool) -> _Rendered:
        view = self._view
        now = view.now()
        zero_starts = view.zero_starts()
        # A reload in between may have brought a feed: the next page has it.
        feeds = [
            Feed(each, zero_starts[each.account, each.channel])
            for each in view.snapshots()
            if (each.account, each.channel) in zero_starts
        ]
        page = self._renderer.render(
            feeds,
            now,
            open_metrics=open_metrics,
            reloaded=view.reloaded,
            log_lines_dropped=logs.lines_dropped(),
            standby=view.standby(),
        )
        body = gzip.compress(page.body, GZIP_LEVEL, mtime=0) if zipped else page.body
        shown = page._replace(body=b"")  # what is not needed any more is not held until it was taken
        return _Rendered(body, lambda: shown.was_answered(now))

    async def status(self, _: Request) -> Response:
        headers = _guarded("text/html; charset=utf-8", status_page.POLICY)
        return _Page(lambda: self._shared.get("status", self._render_status), headers)

    def _render_status(self) -> _Rendered:
        view = self._view
        html = status_page.render(
            view.snapshots(), view.now().wall_s, view.version, view.docs_url, view.owners()
        )
        return _Rendered(html.encode())

    async def healthy(self, _: Request) -> Response:
        return _state("healthy", "no progress", self._view.stalled())

    async def ready(self, _: Request) -> Response:
        return _state("ready", "not asked yet", self._view.ready())


@asynccontextmanager
async def _at_once() -> AsyncIterator[bool]:
    """For an answer that goes through no connection of ours."""
    yield True


async def _always() -> bool:
    """As above."""
    return True


async def _not_served(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return _answer("Not here. There are /metrics, /, /-/healthy and /-/ready.\n", 404)
    if error.status_code == 405:
        allowed = " and ".join(sorted(headers.get("Allow", "GET, HEAD").split(", ")))
        return _answer(f"Only {allowed} can be asked for here.\n", 405, headers)
    return _answer(f"{error.detail}\n", error.status_code, headers)


async def _failed(_: Request, __: Exception) -> Response:
    return _answer("Internal error, see the exporter's log.\n", 500)


_GUARDED = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def _state(state: str, problem: str, feeds: Sequence[str]) -> Response:
    """Whether the exporter is in a state, which `feeds` with a problem prevent."""
    if feeds:
        return _answer(f"infobip-exporter is not {state}, {problem}: {', '.join(feeds)}\n", 503)
    return _answer(f"infobip-exporter is {state}.\n")


def _answer(
    text: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    content_type: str = PLAIN,
    policy: str = "default-src 'none'; frame-ancestors 'none'",
) -> Response:
    return Response(text, status, _lowered(headers) | _guarded(content_type, policy))


def _guarded(content_type: str, policy: str) -> dict[str, str]:
    return {
        **_GUARDED,
        "content-type": content_type,
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
    }


def _lowered(headers: dict[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}
