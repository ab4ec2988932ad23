"""From a listen address to listening sockets, or one clear line why not."""

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from infobip_exporter.config.addresses import split_listen_address, unix_socket
from infobip_exporter.errors import ListenError

BACKLOG = 1024
"""Connections that may wait to be accepted. They cost us nothing; beyond them the kernel drops attempts, for a second."""

SEND_BUFFER = 128 * 1024
"""Bytes that the kernel may keep of an answer that is not read, up to twice as many; by default it takes 4 MB."""

SOCKET_MODE = 0o660
"""A unix socket is for its owner and its group."""


def listening_sockets(address: str) -> list[socket.socket]:
    """Sockets that listen on `address`: `host:port`, `[v6]:port`, `:port` for every address of this machine, `unix:/path`.

    `[::]:port` takes IPv4 as well, as in Go's programs. A name that stands for several addresses (`localhost`) is
    listened to on each of them. Port 0 takes any free one. Raises ListenError.
    """
    try:
        if path := unix_socket(address):
            return [_at_path(address, path)]
        host, port = split_listen_address(address)
    except ValueError as error:
        raise ListenError(f"can't listen on {address!r}: {error}") from None
    if host in ("", "::"):
        return [_everywhere(address, port)]
    sockets: list[socket.socket] = []
    try:
        for family, each in _addresses(address, host):
            sockets.append(_listening(address, family, each, port))
            if port == 0:
                break  # each address would get another port
    except ListenError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _addresses(address: str, host: str) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise ListenError(
            f"can't listen on {address}: the host {host!r} can't be resolved ({reason})"
        ) from None
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))


def _everywhere(address: str, port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _listening(address, socket.AF_INET6, "::", port, dualstack=True)
        except ListenError as error:
            if not _is_without_ipv6(error.__cause__):
                raise
    return _listening(address, socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - asked for


def _listening(
    address: str, family: socket.AddressFamily, host: str, port: int, *, dualstack: bool = False
) -> socket.socket:
    try:
        listening = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dualstack
        )
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {_reason(error, host, port)}") from error
    # Connections inherit these. asyncio would set the first only where the socket names its protocol: 40 ms an answer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return listening


def _at_path(address: str, path: Path) -> socket.socket:
    """A unix socket at `path`, in place of one that an earlier run has left behind."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _remove_if_left_behind(address, path)
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)  # before anybody can connect
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "there is a file of that name, and it is no socket"
        raise ListenError(f"can't listen on {address}: {reason}") from error
    except ListenError:
        bound.close()
        raise
    return bound


def _remove_if_left_behind(address: str, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except FileNotFoundError:
            pass
        else:
            raise ListenError(
                f"can't listen on {address}: it is in use by another program; "
                "choose another with --web.listen-address"
            )


def place_of(bound: socket.socket) -> str:
    """Where `bound` listens: `host:port` or `unix:/path`."""
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def remove_socket(file: Path, made: tuple[int, int]) -> None:
    """Remove the unix socket `file`, unless another (by device and inode) has taken its place."""
    with suppress(OSError):
        if socket_id(file) == made:
            file.unlink()


def socket_id(file: Path) -> tuple[int, int] | None:
    """Device and inode of the unix socket `file`; None where there is none."""
    with suppress(OSError):
        status = file.stat()
        if stat.S_ISSOCK(status.st_mode):
            return status.st_dev, status.st_ino
    return None


def _reason(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} is in use by another program; choose another with --web.listen-address"
        case errno.EACCES:
            return f"no permission to listen on port {port}; ports below 1024 are the system's"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine"
        case _:
            return os.strerror(error.errno) if error.errno else str(error)


def _is_without_ipv6(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
