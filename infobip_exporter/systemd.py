"""What systemd is told of the service: sd_notify(3), as far as a unit with Type=notify needs it."""

import socket
from collections.abc import Mapping
from contextlib import suppress


def tell_ready(env: Mapping[str, str]) -> None:
    """Tell systemd that the service has started and takes signals. Without effect where nobody waits for it.

    `env` is the environment: NOTIFY_SOCKET is the path of systemd's socket, or its abstract name after an @.
    """
    path = env.get("NOTIFY_SOCKET")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    # The variable may be left over from a parent whose socket has gone.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.sendto(b"READY=1", address)
