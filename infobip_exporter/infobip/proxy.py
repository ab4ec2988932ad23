"""The proxy on the way to the API, as the account or the environment names it."""

import ipaddress
import os
import re
from collections.abc import Mapping

import httpx

from infobip_exporter.config import addresses
from infobip_exporter.config.schema import Account
from infobip_exporter.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_HOST_AND_PORT = re.compile(r"(\[[^]]*\]|[^:]*):([0-9]+)")


def proxy_of(account: Account, url: httpx.URL) -> httpx.Proxy | None:
    """The proxy of `account` for `url`. Raises ConfigError for one of the environment that can't be used."""
    if account.proxy_url:
        excepted = _is_excepted(url, account.no_proxy)
        return None if excepted else httpx.Proxy(account.proxy_url.reveal())
    return proxy_for(url) if account.proxy_from_environment else None


def proxy_for(url: httpx.URL, environ: Mapping[str, str] = os.environ) -> httpx.Proxy | None:
    """The environment's proxy for `url`; None without one, for hosts in NO_PROXY, and for this machine itself.

    HTTPS_PROXY or HTTP_PROXY, by the scheme of `url`, goes before ALL_PROXY; a name in lower case goes before the same
    one in upper case. Raises ConfigError for a proxy that can't be used.
    """
    name, value = _first(environ, f"{url.scheme}_proxy", "all_proxy")
    if not value or addresses.is_loopback(url.host) or _is_excepted(url, _first(environ, "no_proxy")[1]):
        return None
    try:
        proxy = httpx.Proxy(value if "://" in value else f"http://{value}")
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in _PORTS or not proxy.url.host:
        raise ConfigError([f"{name}: can't be used; allowed are http:// and https:// proxies"])
    return proxy


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    """Name and value of the first of these variables that is set and not empty."""
    for name in [spelling for lower in names for spelling in (lower, lower.upper())]:
        if value := environ.get(name, "").strip():
            return name, value
    return "", ""


def _is_excepted(url: httpx.URL, no_proxy: str) -> bool:
    """Whether `no_proxy`, a list parted by commas or spaces, names the host of `url`, by curl's rules.

    A name stands for the host and all below it, with or without a leading dot; `*` for every host; an address may have
    a prefix length (10.0.0.0/8). Beyond curl, `*.` may lead a name and `:port` may follow it.
    """
    return any(_matches(entry, url) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _matches(entry: str, url: httpx.URL) -> bool:
    host = url.host.rstrip(".")
    with_port = _HOST_AND_PORT.fullmatch(entry)
    name, port = with_port.groups() if with_port else (entry, None)
    if port is not None and int(port) != (url.port or _PORTS[url.scheme]):
        return False
    if name == "*":
        return True
    name = name.replace("[", "").replace("]", "")
    if addresses.is_ip(host):
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
        except ValueError:  # it is a name
            return False
    domain = name.lower().removeprefix("*.").strip(".")
    return host == domain or host.endswith(f".{domain}")
