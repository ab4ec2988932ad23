"""Replies of the simulated API, and the bodies of its errors, in both shapes that Infobip has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Literal

import msgspec

from infobip_sandbox.quirks import Quirks


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over the wire. `delay_s` passes first.

    `fault` is what happens instead of an orderly answer: `timeout`, nothing comes back; `reset`, the connection is
    torn down; `cut`, it ends in the middle of the body (`body` is what still came, Content-Length tells the whole).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_s: float = 0.0
    fault: Literal["reset", "timeout", "cut"] | None = None


_NEW_TEXTS = {
    400: ("E400", "Request cannot be processed.", "Check the request parameters and try again."),
    401: (
        "E401",
        "The request lacks valid authentication credentials.",
        "Check the credentials and try again.",
    ),
    403: ("E403", "The credentials do not allow this request.", "Check the scopes of the API key."),
    404: ("E404", "There is nothing at this address.", "Check the address."),
    429: ("E429", "Too many requests.", "Wait before the next request."),
    500: ("E500", "Something went wrong on our side.", "Try again; contact support if it happens again."),
}
_OLD_TEXTS = {
    400: ("BAD_REQUEST", "Bad Request"),
    401: ("UNAUTHORIZED", "Invalid login details"),
    403: ("FORBIDDEN", "Unauthorized access"),
    404: ("NOT_FOUND", "Requested URL not found"),
    429: ("TOO_MANY_REQUESTS", "Too many requests"),
    500: ("GENERAL_ERROR", "Something went wrong. Please contact support."),
}


def headers(now_ms: int, content_type: str = "application/json;charset=UTF-8") -> dict[str, str]:
    """The headers of a reply at `now_ms` by the API's clock, which Date tells in whole seconds."""
    return {"Date": formatdate(now_ms // 1000, usegmt=True), "Content-Type": content_type}


def error_reply(
    status: int,
    quirks: Quirks,
    now_ms: int,
    *,
    violations: Sequence[Mapping[str, str]] = (),
    more_headers: Mapping[str, str] | None = None,
) -> Reply:
    """An error as the API tells it, in the shape that the quirks say."""
    body: dict[str, Any]
    if quirks.error_body == "new":
        code, description, action = _NEW_TEXTS[status]
        body = {
            "errorCode": code,
            "description": description,
            "action": action,
            "violations": violations,
            "resources": [],
        }
    else:
        name, text = _OLD_TEXTS[status]
        exception: dict[str, Any] = {"messageId": name, "text": text}
        if violations:
            exception["validationErrors"] = {each["property"]: [each["violation"]] for each in violations}
        body = {"requestError": {"serviceException": exception}}
    return Reply(status, headers(now_ms) | dict(more_headers or {}), msgspec.json.encode(body))


def html_reply(status: int, title: str, now_ms: int) -> Reply:
    """A page as a proxy puts in the way."""
    page = f"<html>\n<head><title>{title}</title></head>\n<body><h1>{title}</h1></body>\n</html>\n"
    return Reply(status, headers(now_ms, "text/html"), page.encode())
