"""What each value of a configuration may be. A rule takes its text and gives the value; its ValueError says what is allowed."""

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from infobip_exporter.config import postgres_url
from infobip_exporter.config.duration import FORM, format_duration, parse_duration
from infobip_exporter.config.problems import Unshown, suggestion
from infobip_exporter.model.channels import LOG_PATHS, MAX_LIST_LENGTH
from infobip_exporter.model.secret import Secret

FILTERS = ("sender", "destination", "bulkId", "entityId", "applicationId", "campaignReferenceId")
"""The parameters of the log that an account may be narrowed to, in the API's spelling."""

LIST_FILTERS = ("bulkId", "campaignReferenceId")
"""Those that the API takes as several values, separated by commas."""

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_FORMATS = ("logfmt", "json", "console")

LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path (sockaddr_un of Linux, less the zero at its end)."""

_HOST_NAME = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)


PARAMETER = re.compile(r"[A-Za-z0-9_.-]{1,40}")
"""What a parameter of a token request may be called. A secret in its place is longer."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
"""A word of an HTTP header (RFC 9110, 5.6.2)."""
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""RFC 6749, 3.3."""


def account_name(text: str) -> str:
    if not text or len(text) > 64 or not text.isprintable():
        raise ValueError("must be 1 to 64 printable characters")
    return text


def base_url(text: str) -> str:
    """Scheme, host and port of the account's own host, without a slash at the end."""
    if "@" in text:
        raise Unshown("must hold no user and no password; the key belongs into api_key")
    url = _split(text)
    if "://" not in text:
        raise ValueError("must begin with https://")
    if url.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError("must be scheme and host alone, without a path, ? or #")
    _check_safe(url)
    return f"{url.scheme}://{url.netloc.lower()}"


def token_url(text: str) -> str:
    """The URL of a token endpoint."""
    if "@" in text:
        raise Unshown("must hold no user and no password; they belong into client_id and client_secret")
    url = _split(text)
    if "#" in text:
        raise ValueError("must be a URL without #")
    _check_safe(url)
    return text


def _check_safe(url: SplitResult) -> None:
    """ValueError for what a secret must not be sent to."""
    host = url.hostname or ""
    if not _is_host(host):
        raise ValueError("must name a host, such as https://xxxxx.api.infobip.com")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError("must be an https:// URL (plain http only on loopback)")


def _split(text: str) -> SplitResult:
    # urlsplit drops line ends silently; nothing but printable ASCII belongs into a URL.
    if not _is_visible_ascii(text):
        raise ValueError("must be a URL of ASCII characters without spaces")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("must be a URL with a sound host and port") from None
    if port == 0 or url.netloc.endswith(":"):
        raise ValueError("must be a URL with a sound host and port")
    return url


def proxy_url(text: str) -> Secret:
    """The URL of a proxy, with user and password where it asks for them."""
    try:
        url = _split(text)
    except ValueError as error:
        raise Unshown(str(error)) from None
    if url.scheme not in {"http", "https"} or not _is_host(url.hostname or ""):
        raise Unshown("must be http:// or https:// and the proxy's host and port; SOCKS is not supported")
    return Secret(text)


def password_in(url: Secret) -> Secret | None:
    """The password that a proxy's URL holds."""
    password = urlsplit(url.reveal()).password
    return Secret(unquote(password)) if password else None


def no_proxy(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must list hosts, with commas between them")
    return text


def server_name(text: str) -> str:
    if not _is_host(text):
        raise ValueError("must be the host name that the certificate is for")
    return text


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
    if not _is_visible_ascii(text):
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
    return client_id(text)


def client_id(text: str) -> str:
    if not text or len(text) > 256 or not text.isprintable():
        raise ValueError("must be 1 to 256 printable characters")
    return text


def authorization_type(text: str) -> str:
    if text.lower() == "basic":
        raise ValueError("must not be Basic; use basic_auth")
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be one word, such as Bearer or IBSSO")
    return text


def scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("must be a scope without spaces, such as instagram:logs:read")
    return text


def channel(text: str) -> str:
    if text not in LOG_PATHS:
        raise ValueError(f"is unknown ({suggestion(text, list(LOG_PATHS))})")
    return text


def filter_value(text: str) -> str:
    if not text or not text.isprintable() or len(text) > MAX_LIST_LENGTH:
        raise ValueError(f"must be 1 to {MAX_LIST_LENGTH} printable characters")
    return text


def file_in(folder: Path) -> Callable[[str], Path]:
    """A rule: a path, relative to `folder`. It need not exist yet."""

    def rule(text: str) -> Path:
        # What is not printable (a line end, a byte that is no UTF-8) would come out again in logs and errors.
        if not text or not text.isprintable():
            raise ValueError("must be a path of printable characters")
        return folder / text

    return rule


def existing_file_in(folder: Path) -> Callable[[str], Path]:
    """A rule: the path of a file that is there, relative to `folder`."""

    def rule(text: str) -> Path:
        file = file_in(folder)(text)
        try:
            there = file.is_file()
        except OSError:
            there = False
        if not there:
            raise ValueError(f"must be an existing file (relative paths start at {folder.absolute()})")
        return file

    return rule


SQLITE = "sqlite:///"
"""What the URL of a state in a file begins with."""


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


def listen_address(text: str) -> str:
    """`text`, which is host:port, :port (every address of this machine), [::1]:port or unix:/path."""
    if unix_socket(text) is None:
        split_listen_address(text)
    return text


def unix_socket(text: str) -> Path | None:
    """The path of a listen address that is a unix socket; None of one that is none."""
    path = text.removeprefix("unix:")
    if path == text or re.fullmatch(r"[0-9]+", path):
        return None  # A host may have the name as well: unix:10470.
    printable = bool(path) and path.isprintable()
    if not printable or path.endswith("/") or len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ValueError(
            f"must be unix: and the path of a socket, in at most {LONGEST_SOCKET_PATH} bytes, "
            "such as unix:/run/infobip-exporter.sock"
        )
    return Path(path)


def split_listen_address(text: str) -> tuple[str, int]:
    """Host and port of a listen address. The host is empty for every address, an IPv6 one without brackets."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    sound_host = _is_ipv6(bare) if bracketed else not bare or (":" not in bare and _is_host(bare))
    if not colon or not sound_host or not _whole(port, 0, 65535):
        raise ValueError(
            "must be host:port, :port or [IPv6]:port with a port from 0 to 65535, such as 0.0.0.0:10470, "
            "or unix: and the path of a socket"
        )
    return bare, int(port)


def host_pattern(text: str) -> str:
    """A host name, an address (an IPv6 one without brackets), or all names below one: `*.example.com`."""
    if not _is_host(text.removeprefix("*.")):
        raise ValueError("must be a host without a port, such as exporter.example.com or *.example.com")
    return text


def whole(low: int, high: int) -> Callable[[str], int]:
    """A rule: a whole number from `low` to `high`."""

    def rule(text: str) -> int:
        if not _whole(text, low, high):
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return rule


def duration(low_s: float, high_s: float) -> Callable[[str], float]:
    """A rule: a duration from `low_s` to `high_s` seconds; the value is in seconds."""

    def rule(text: str) -> float:
        span = f"a duration from {format_duration(low_s)} to {format_duration(high_s)}"
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise ValueError(f"must be {span}: {FORM}") from None
        if not low_s <= seconds <= high_s:
            raise ValueError(f"must be {span}")
        return seconds

    return rule


def boolean(text: str) -> bool:
    """YAML's words for true and false."""
    word = text.lower()
    if word not in {"true", "false", "yes", "no", "on", "off"}:
        raise ValueError("must be true or false")
    return word in {"true", "yes", "on"}


def one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    """A rule: one of the words `allowed`."""

    def rule(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return rule


def in_quotes(text: str) -> bool:
    """Whether `text` has quotes around it, which belong to the syntax of some file rather than to the value."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _whole(text: str, low: int, high: int) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", text)) and low <= int(text) <= high


def _is_host(text: str) -> bool:
    if ":" in text:
        return _is_ipv6(text)
    if re.fullmatch(r"[0-9.]+", text):
        return _is_ipv4(text)
    return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and _is_sound_idn(text)


def _is_sound_idn(text: str) -> bool:
    """Whether httpx can read the labels that stand for other scripts (xn--...)."""
    if "xn--" not in text.lower():
        return True
    import httpx  # noqa: PLC0415 - slow to import, and hardly ever needed here

    try:
        return bool(httpx.URL(f"https://{text}").host)
    except (ValueError, httpx.InvalidURL):
        return False


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_visible_ascii(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
