"""The web configuration: TLS, basic auth, headers and a rate limit, in the format of Prometheus' exporter-toolkit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from infobip_exporter.config import rules
from infobip_exporter.config.files import read_text
from infobip_exporter.config.problems import Problems, Unshown
from infobip_exporter.config.sections import Whole, members, section, table
from infobip_exporter.config.tree import Value, parse_tree
from infobip_exporter.model.secret import Secret
from infobip_exporter.web.tls import Tls, read_tls

COSTLIEST = 15
"""The highest cost of a bcrypt hash: one check takes some seconds."""

_USER = re.compile(r"[^:\x00-\x1f\x7f-\x9f]{1,100}")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One request in `interval_s`, and up to `burst` of them at once."""

    interval_s: Annotated[float, rules.duration(0, _DAY_S)] = 0.0
    burst: Annotated[int, rules.whole(0, 1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says. Hashes are bcrypt's, header names as they were written."""

    tls: Tls | None = None
    users: Mapping[str, Secret] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None
    notes: tuple[str, ...] = ()
    """What works, but not as one may think; a line each."""


def load_web_config(path: Path) -> WebConfig:
    """The web configuration in the file `path`, with the certificates it names. ConfigError tells every mistake."""
    problems = Problems(str(path))
    top = parse_tree(read_text(path), None, problems)
    found: Mapping[str, Any] = _FILE.read(top) if top else {}
    problems.raise_if_any()
    http: _HttpServer = found.get("http_server_config", _HttpServer())
    limit: RateLimit | None = found.get("rate_limit")
    note = "http_server_config.http2: HTTP/1.1 is spoken here; clients agree on it by themselves"
    return WebConfig(
        tls=found.get("tls_server_config"),
        users=found.get("basic_auth_users", {}),
        headers={
            name: text for name, text in http.headers.items() if text
        },  # blank: not set, says the format
        rate_limit=limit if limit and limit.interval_s else None,
        notes=(note,) if http.http2 else (),
    )


def _bcrypt_hash(text: str) -> Secret:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise Unshown('must be a bcrypt hash, such as `htpasswd -nBC 10 ""` prints behind the colon')
    if not 4 <= int(match[1]) <= COSTLIEST:
        raise Unshown(f"must be a bcrypt hash of a cost from 4 to {COSTLIEST}; 10 is usual")
    return Secret(text)


def _header(*words: str) -> Whole:
    """A header, one of `words`; without them any."""

    def rule(text: str) -> str:
        if words and text and text.lower() not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        if not _HEADER_VALUE.fullmatch(text):
            raise ValueError("must be printable ASCII")
        return text

    return Whole(lambda value: None if value.empty else value.checked(rule))


@dataclass(frozen=True, slots=True)
class _HttpServer:
    http2: Annotated[bool, rules.boolean] = False
    headers: Annotated[
        Mapping[str, str],
        members(
            {
                "Content-Security-Policy": _header(),
                "X-Frame-Options": _header("deny", "sameorigin"),
                "X-Content-Type-Options": _header("nosniff"),
                "X-XSS-Protection": _header(),
                "Strict-Transport-Security": _header(),
            }
        ),
    ] = field(default_factory=dict)


def _check_burst(limit: Value, _: Mapping[str, Value], found: Mapping[str, Any]) -> None:
    if found.get("interval") and found.get("burst", 0) == 0:
        limit.wrong("needs a burst of at least 1, or no request would be answered", show=False)


_FILE = members(
    {
        "tls_server_config": Whole(read_tls),
        "http_server_config": section(_HttpServer),
        "basic_auth_users": table(_USER, "user names and bcrypt hashes", _bcrypt_hash),
        "rate_limit": section(RateLimit, _check_burst),
    }
)
