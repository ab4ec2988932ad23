"""Rules for URLs, hosts and addresses to listen on; see `rules.py` for what a rule is."""

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from infobip_exporter.config.problems import Unshown
from infobip_exporter.config.rules import fits, is_visible_ascii
from infobip_exporter.model.secret import Secret

LONGEST_SOCKET_PATH = 107
"""Bytes of a unix socket's path (sockaddr_un of Linux, less the zero at its end)."""

_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


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


def proxy_url(text: str) -> Secret:
    """The URL of a proxy, with user and password where it asks for them."""
    try:
        url = _split(text)
    except ValueError as error:
        raise Unshown(str(error)) from None
    if url.scheme not in {"http", "https"} or not _is_host(url.hostname or ""):
        raise Unshown("must be http:// or https:// and the proxy's host and port; SOCKS is not supported")
    return Secret(text)


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
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_sound = not host or (_is_host(bare) and (":" in bare) == (bare != host))
    if not colon or not is_sound or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(
            "must be host:port, :port or [IPv6]:port with a port from 0 to 65535, such as 0.0.0.0:10470, "
            "or unix: and the path of a socket"
        )
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    return ipaddress.ip_address(host).is_loopback if is_ip(host) else host.lower() == "localhost"


def is_ip(text: str) -> bool:
    """Whether `text` is an address of IPv4 or IPv6."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_safe(url: SplitResult) -> None:
    """ValueError for what a secret must not be sent to."""
    host = url.hostname or ""
    if not _is_host(host):
        raise ValueError("must name a host, such as https://xxxxx.api.infobip.com")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError("must be an https:// URL (plain http only on loopback)")


def _split(text: str) -> SplitResult:
    # urlsplit drops line ends silently; nothing but printable ASCII belongs into a URL.
    if not is_visible_ascii(text):
        raise ValueError("must be a URL of ASCII characters without spaces")
    try:
        url = urlsplit(text)
        is_sound = url.port != 0 and not url.netloc.endswith(":")
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ValueError("must be a URL with a sound host and port")
    return url


def _is_host(text: str) -> bool:
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        return is_ip(text)
    if len(text) > 253 or not _HOST_NAME.fullmatch(text):
        return False
    if "xn--" not in text.lower():
        return True
    # Can labels that stand for other scripts be read?
    import httpx  # noqa: PLC0415 - slow to import, and hardly ever needed here

    try:
        return bool(httpx.URL(f"https://{text}").host)
    except (ValueError, httpx.InvalidURL):
        return False


server_name = fits(_is_host, "must be the host name that the certificate is for")
host_pattern = fits(
    lambda text: _is_host(text.removeprefix("*.")),
    "must be a host without a port, such as exporter.example.com or *.example.com",
)
"""A host name, an address (an IPv6 one without brackets), or all names below one: `*.example.com`."""
