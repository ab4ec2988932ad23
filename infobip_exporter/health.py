"""Whether the exporter on this machine is healthy, for a container's health check: `python -m infobip_exporter.health`.

It runs every 30 seconds for as long as the container does, so it imports next to nothing: no HTTP client, and `ssl` only
where TLS is on.
"""

import os
import socket
import sys

URL = "http://127.0.0.1:10470/-/healthy"
TIMEOUT_S = 4.0


def is_healthy(url: str) -> bool:
    """Whether `url` answers 200. The certificate of an https URL is not checked: it is for another name."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon:
        host, port = place, "443" if scheme == "https" else "80"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as connection:
            asked = _secured(connection) if scheme == "https" else connection
            asked.sendall(f"GET /{path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode())
            with asked.makefile("rb") as answer:
                return answer.readline(100).split()[1:2] == [b"200"]
    except OSError:
        return False


def _secured(connection: socket.socket) -> socket.socket:
    import ssl  # noqa: PLC0415 - takes longer than all the rest

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


if __name__ == "__main__":
    sys.exit(not is_healthy(os.environ.get("HEALTH_URL", URL)))
