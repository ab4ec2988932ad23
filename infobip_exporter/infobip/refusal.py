"""What a refusal says, in words for a person: the API's own text and what to do about it."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from infobip_exporter.infobip.lenient import parse_json

LONGEST_TEXT = 300
_LONGEST_API_TEXT = 180

_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_WRONG_PLACE = "base_url looks wrong, it should be https://<yours>.api.infobip.com"
_HINTS = {
    400: "if the account has filters, check them",
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
    407: "the proxy wants other credentials",
    410: _WRONG_PLACE,
    429: "the account makes more requests than it may",
}


def describe_refusal(status: int, body: bytes, hint: str, secrets: Iterable[str]) -> str:
    """One line, at most LONGEST_TEXT characters, on an answer with `status` and `body`; `hint` is what it may mean.

    None of `secrets` is in the text.
    """
    said = cleaned(_api_text(body), secrets)[:_LONGEST_API_TEXT]
    parts = [said.rstrip(". ") or _phrase(status), *([hint] if hint else [])]
    return cleaned("; ".join(parts), secrets)[:LONGEST_TEXT]


def log_hint(status: int, channel: str, refusal: str) -> str:
    """What an answer of a log with `status` means; `refusal` is what a 401 does.

    `channel` is as in the log's path: it names the scope that a 403 lacks.
    """
    if 300 <= status < 400:
        return f"the API does not redirect: {_WRONG_PLACE}"
    if status == HTTPStatus.UNAUTHORIZED:
        return refusal
    if status == HTTPStatus.FORBIDDEN:
        return f"the credentials lack the scope {channel}:logs:read, or this address may not use them"
    return _HINTS.get(status, "")


def error_text(answer: object) -> str:
    """The text of an error body: Infobip's newer or older form, or that of RFC 6749, 5.2; empty where it is none."""
    if not isinstance(answer, dict):
        return ""
    of_token = _joined(": ", answer.get("error"), answer.get("error_description"))
    request_error = _object(answer.get("requestError"))
    older = _object(request_error.get("serviceException")) or _object(request_error.get("policyException"))
    said = _joined(" ", answer.get("errorCode"), answer.get("description"))
    newer = _joined(" " if said.endswith(".") else ": ", said, answer.get("action"))
    return newer or of_token or _joined(": ", older.get("messageId"), older.get("text"))


def cleaned(text: str, secrets: Iterable[str]) -> str:
    """`text` in one line of printable characters, without any of `secrets`."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    for secret in secrets:
        if secret:
            line = line.replace(secret, "***")
    return line


def _api_text(body: bytes) -> str:
    if body.lstrip().startswith(b"<"):
        title = _TITLE.search(body)
        return f'an HTML page "{title[1].decode("utf-8", "replace").strip()}"' if title else "an HTML page"
    try:
        return error_text(parse_json(body))
    except ValueError:
        return body[:LONGEST_TEXT].decode("utf-8", "replace")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined(separator: str, *values: object) -> str:
    return separator.join(value for value in values if isinstance(value, str) and value)
