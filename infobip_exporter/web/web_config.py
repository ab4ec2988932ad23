"""The web configuration: TLS, basic auth, headers and a rate limit, in the format of Prometheus' exporter-toolkit."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infobip_exporter.config import rules
from infobip_exporter.config.files import read_file
from infobip_exporter.config.problems import Problems, Unshown
from infobip_exporter.config.tree import MAX_CHARACTERS, Value, parse_tree
from infobip_exporter.errors import ConfigError
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

    interval_s: float
    burst: int


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
    try:
        text = read_file(path, 4 * MAX_CHARACTERS + 1).decode()
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    problems = Problems(str(path))
    top = parse_tree(text, None, problems, empty="")
    sections = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"]
    given = top.members(sections) if top else {}
    notes: list[str] = []
    config = WebConfig(
        tls=read_tls(given["tls_server_config"], path.parent) if "tls_server_config" in given else None,
        users=_users(given.get("basic_auth_users")),
        headers=_http(given.get("http_server_config"), notes),
        rate_limit=_rate_limit(given.get("rate_limit")),
        notes=tuple(notes),
    )
    problems.raise_if_any()
    return config


def _users(section: Value | None) -> Mapping[str, Secret]:
    given = section.entries(_USER, "user names and bcrypt hashes") if section else {}
    read = {name: value.checked(_bcrypt_hash) for name, value in given.items()}
    return {name: hashed for name, hashed in read.items() if hashed}


def _bcrypt_hash(text: str) -> Secret:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise Unshown('must be a bcrypt hash, such as `htpasswd -nBC 10 ""` prints behind the colon')
    if not 4 <= int(match[1]) <= COSTLIEST:
        raise Unshown(f"must be a bcrypt hash of a cost from 4 to {COSTLIEST}; 10 is usual")
    return Secret(text)


def _http(section: Value | None, notes: list[str]) -> Mapping[str, str]:
    given = section.members(["http2", "headers"]) if section else {}
    if "http2" in given and given["http2"].checked(rules.boolean):
        notes.append("http_server_config.http2: HTTP/1.1 is spoken here; clients agree on it by themselves")
    return _headers(given["headers"]) if "headers" in given else {}


def _any_header(text: str) -> str:
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("must be printable ASCII")
    return text


def _header_of(*words: str) -> Callable[[str], str]:
    def rule(text: str) -> str:
        if text and text.lower() not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text

    return rule


_HEADERS: Mapping[str, Callable[[str], str]] = {
    "Content-Security-Policy": _any_header,
    "X-Frame-Options": _header_of("deny", "sameorigin"),
    "X-Content-Type-Options": _header_of("nosniff"),
    "X-XSS-Protection": _any_header,
    "Strict-Transport-Security": _any_header,
}


def _headers(section: Value) -> Mapping[str, str]:
    given = section.members(list(_HEADERS))
    read = {name: value.checked(_HEADERS[name]) for name, value in given.items() if not value.empty}
    return {name: text for name, text in read.items() if text}  # A blank one is not set, says the format.


def _rate_limit(section: Value | None) -> RateLimit | None:
    given = section.members(["interval", "burst"]) if section else {}
    if section is None or not given:
        return None
    interval_s = given["interval"].checked(rules.duration(0, _DAY_S)) if "interval" in given else 0.0
    burst = given["burst"].checked(rules.whole(0, 1_000_000)) if "burst" in given else 0
    if interval_s and burst == 0:
        section.wrong("needs a burst of at least 1, or no request would be answered", show=False)
    return RateLimit(interval_s, burst) if interval_s and burst else None
