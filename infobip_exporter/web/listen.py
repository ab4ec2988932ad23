"""From a listen address to bound sockets, or one clear line why not."""

import errno
import socket

from infobip_exporter.config.rules import split_listen_address
from infobip_exporter.errors import ListenError

Place = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
"""What getaddrinfo gives: host and port first (its last form is for a Python without IPv6)."""

BACKLOG = 128
"""Connections that may wait to be accepted; also how many are accepted before any of them is read."""


def bound_sockets(address: str) -> list[socket.socket]:
    """Sockets bound to `address`: `host:port`, `[v6]:port`, or `:port` for every address of this machine.

    A name that stands for several addresses (`localhost`) is bound on each of them. Port 0 takes any free one.
    Raises ListenError.
    """
    try:
        host, port = split_listen_address(address)
    except ValueError as error:
        raise ListenError(f"can't listen on {address!r}: {error}") from None
    if not host:
        return [_bound_everywhere(address, port)]
    sockets: list[socket.socket] = []
    try:
        for family, place in _places(address, host, port):
            sockets.append(_bound(address, family, place))
            if port == 0:
                break  # each address would get another port
    except ListenError:
        for bound in sockets:
            bound.close()
        raise
    return sockets


def _places(address: str, host: str, port: int) -> list[tuple[socket.AddressFamily, Place]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise ListenError(
            f"can't listen on {address}: the host {host!r} can't be resolved ({reason})"
        ) from None
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _bound_everywhere(address: str, port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _bound(address, socket.AF_INET6, ("::", port), dualstack=True)
        except ListenError as error:
            if not _is_without_ipv6(error.__cause__):
                raise
    return _bound(address, socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - asked for


def _bound(
    address: str, family: socket.AddressFamily, place: Place, *, dualstack: bool = False
) -> socket.socket:
    try:
        # The protocol is named, for asyncio switches Nagle's algorithm off only where it is: 40 ms an answer.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dualstack))
            bound.bind(place)
            # Listening now, for two can bind the same port as long as neither listens.
            bound.listen(BACKLOG)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {_reason(error, place)}") from error
    return bound


def _reason(error: OSError, place: Place) -> str:
    host, port = map(str, place[:2])
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is in use by another program; choose another with --web.listen-address"
        case errno.EACCES:
            return f"no permission to listen on port {port}; ports below 1024 are the system's"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        case _:
            return error.strerror or str(error)


def _is_without_ipv6(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
