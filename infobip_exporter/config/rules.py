"""What each value of a configuration may be. A rule takes its text and gives the value; its ValueError says what is allowed."""

import re
from collections.abc import Callable, Collection

from infobip_exporter.config import postgres_url
from infobip_exporter.config.duration import format_duration, parse_duration
from infobip_exporter.config.problems import Unshown, suggestion
from infobip_exporter.model.channels import LOG_PATHS
from infobip_exporter.model.secret import Secret

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_FORMATS = ("logfmt", "json", "console")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
"""A word of an HTTP header (RFC 9110, 5.6.2)."""

SQLITE = "sqlite:///"
"""What the URL of a state in a file begins with."""


def fits(is_right: Callable[[str], object], told: str) -> Callable[[str], str]:
    """A rule: a text that `is_right`, as it is. `told` says what is allowed."""

    def rule(text: str) -> str:
        if not is_right(text):
            raise ValueError(told)
        return text

    return rule


def printable(most: int) -> Callable[[str], str]:
    told = f"must be 1 to {most} printable characters"
    return fits(lambda text: 0 < len(text) <= most and text.isprintable(), told)


def one_of(allowed: Collection[str]) -> Callable[[str], str]:
    return fits(allowed.__contains__, f"must be one of {', '.join(allowed)}")


def tls_version(text: str) -> str:
    if text in {"TLS10", "TLS11"}:
        raise ValueError("is obsolete and not supported (RFC 8996); must be TLS12 or TLS13")
    return one_of(("TLS12", "TLS13"))(text)


def api_key(text: str) -> Secret:
    if text.lower().startswith("app "):
        raise Unshown('must be the key alone; leave out "App " at its beginning')
    return token(text)


def token(text: str) -> Secret:
    """A key or token, fit for a header."""
    if not text:
        raise Unshown("must not be empty")
    if in_quotes(text):
        raise Unshown("must be the key alone, without the quotes around it")
    if not is_visible_ascii(text):
        raise Unshown("must be printable ASCII without spaces")
    return Secret(text)


def password(text: str) -> Secret:
    if not text:
        raise Unshown("must not be empty")
    if not text.isprintable():
        raise Unshown("must be printable characters")
    return Secret(text)


def username(text: str) -> str:
    if ":" in text:
        raise ValueError("must hold no colon: HTTP's basic authentication ends the user's name with it")
    return printable(256)(text)


no_proxy = fits(lambda text: text.strip() and text.isprintable(), "must list hosts, with commas between them")


def authorization_type(text: str) -> str:
    if text.lower() == "basic":
        raise ValueError("must not be Basic; use basic_auth")
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be one word, such as Bearer or IBSSO")
    return text


scope = fits(  # RFC 6749, 3.3
    re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}").fullmatch,
    "must be a scope without spaces, such as instagram:logs:read",
)


def channel(text: str) -> str:
    if text not in LOG_PATHS:
        raise ValueError(f"is unknown ({suggestion(text, list(LOG_PATHS))})")
    return text


def state_url(text: str) -> str:
    if postgres_url.is_postgres(text):
        return postgres_url.checked(text)
    if "@" in text:
        raise Unshown(f"must begin with {SQLITE} or postgresql://")
    file = text.removeprefix(SQLITE)
    if file == text or not file.isprintable() or not file.strip("/") or file.endswith("/"):
        raise ValueError(
            "must be sqlite:/// and a file, such as sqlite:///infobip-exporter.db, "
            "or with four slashes an absolute one, such as sqlite:////var/lib/infobip-exporter/state.db, "
            "or a postgresql:// URL"
        )
    return text


def whole(low: int, high: int) -> Callable[[str], int]:
    """A rule: a whole number from `low` to `high`."""

    def rule(text: str) -> int:
        if not (re.fullmatch("[0-9]{1,9}", text) and low <= int(text) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return rule


def duration(low_s: float, high_s: float) -> Callable[[str], float]:
    """A rule: a duration from `low_s` to `high_s` seconds; the value is in seconds."""
    told = f"must be a duration from {format_duration(low_s)} to {format_duration(high_s)}"

    def rule(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{told}: {error}") from None
        if not low_s <= seconds <= high_s:
            raise ValueError(told)
        return seconds

    return rule


def boolean(text: str) -> bool:
    """YAML's words for true and false."""
    word = text.lower()
    if word not in {"true", "false", "yes", "no", "on", "off"}:
        raise ValueError("must be true or false")
    return word in {"true", "yes", "on"}


def in_quotes(text: str) -> bool:
    """Whether `text` has quotes around it, which belong to the syntax of some file rather than to the value."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def is_visible_ascii(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
