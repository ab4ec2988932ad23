"""HTTP with one deadline for a whole request, from looking up the name to the last byte.

httpx bounds each read alone: a server that sends a byte a second keeps it waiting for ever. Here every step on the
network gets what is left until the deadline.
"""

import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from infobip_exporter.errors import ConfigError

_KEEPALIVE_S = 5.0
"""Idle connections are closed before common servers close them, so that no question meets a closing one."""
_ENCODED_PIECE = 4096
"""Compressed bytes are passed on in such pieces, so that one can't unpack to more than a few MiB at once."""

_SocketOptions = Iterable[httpcore.SOCKET_OPTION]


class DeadlineTransport(httpx.BaseTransport):
    """Connections to `base_url`, kept alive, through the proxy that the environment names.

    A request's extension `deadline` is the moment, by `clock` (monotonic seconds), at which it ends in
    httpcore.TimeoutException. `interrupt`, from any thread, ends what is under way. Raises ConfigError for a proxy
    or certificate authorities that can't be used.
    """

    def __init__(self, base_url: str, clock: Callable[[], float]) -> None:
        self._network = _Network(clock)
        self._pool = _pool(httpx.URL(base_url), self._network)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._network.deadline = request.extensions["deadline"]
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        body = _Body(
            response, encoded=any(name.lower() == b"content-encoding" for name, _ in response.headers)
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=body, extensions=response.extensions
        )

    def interrupt(self) -> None:
        self._network.interrupt()

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response, *, encoded: bool) -> None:
        self._response = response
        self._encoded = encoded

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._response.iter_stream():
            if not self._encoded:
                yield chunk
                continue
            for start in range(0, len(chunk), _ENCODED_PIECE):
                yield chunk[start : start + _ENCODED_PIECE]

    def close(self) -> None:
        self._response.close()


class _Network(httpcore.NetworkBackend):
    """The network, with a deadline."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._network = httpcore.SyncBackend()
        self._open: set[_Stream] = set()
        self._interrupted = False
        self.deadline = 0.0

    def left_s(self, timeout_s: float | None) -> float:
        """What is left for the next step, at most `timeout_s`. Raises when nothing is."""
        if self._interrupted:
            raise httpcore.ReadError("the client was closed")
        left_s = self.deadline - self._clock()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the deadline has passed")
        return left_s if timeout_s is None else min(left_s, timeout_s)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _addresses(host, port, self.left_s(timeout))
        failure: Exception = httpcore.ConnectError("the name has no address")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share_s = self.left_s(timeout) / left  # a dead address leaves time for the next
            try:
                stream = self._network.connect_tcp(
                    address, port, share_s, local_address, socket_options or []
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self)
        raise failure

    def interrupt(self) -> None:
        self._interrupted = True
        for stream in list(self._open):
            stream.interrupt()

    def opened(self, stream: "_Stream") -> None:
        self._open.add(stream)

    def closed(self, stream: "_Stream") -> None:
        self._open.discard(stream)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, network: _Network) -> None:
        self._stream = stream
        self._network = network
        network.opened(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left_s(timeout))

    def close(self) -> None:
        self._network.closed(self)
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._network.closed(self)
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, self._network.left_s(timeout)), self._network
        )

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def interrupt(self) -> None:
        connection = self._stream.get_extra_info("socket")
        with suppress(OSError):  # it may have ended by itself
            # Not SSLSocket.shutdown: that takes the TLS state away from under the thread that reads.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _addresses(host: str, port: int, timeout_s: float) -> list[str]:
    """The addresses of `host`. A look-up can't be given a timeout, so it runs in a thread that may be left behind."""
    if _is_address(host):
        return [host]
    found: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put(list(dict.fromkeys(str(answer[4][0]) for answer in answers)))
        except OSError as error:
            found.put(error)
        except UnicodeError:
            found.put(OSError("no valid host name"))

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        result = found.get(timeout=timeout_s)
    except queue.Empty:
        raise httpcore.ConnectTimeout("looking up the name took too long") from None
    if isinstance(result, OSError):
        raise httpcore.ConnectError(f"can't look up the name: {result.strerror or result}")
    return result


def _pool(base_url: httpx.URL, network: _Network) -> httpcore.ConnectionPool:
    ssl_context = _ssl_context() if base_url.scheme == "https" else None
    proxy = _proxy(base_url)
    if proxy is None:
        return httpcore.ConnectionPool(
            ssl_context=ssl_context, max_connections=2, keepalive_expiry=_KEEPALIVE_S, network_backend=network
        )
    url = proxy.url
    return httpcore.HTTPProxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        proxy_auth=proxy.raw_auth,
        ssl_context=ssl_context,
        max_connections=2,
        keepalive_expiry=_KEEPALIVE_S,
        network_backend=network,
    )


def _ssl_context() -> ssl.SSLContext:
    """With the authorities that SSL_CERT_FILE or SSL_CERT_DIR names, else httpx's own."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one, too
        reason = "it holds no certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"SSL_CERT_FILE: can't be used: {reason}"]) from None


def _proxy(base_url: httpx.URL) -> httpx.Proxy | None:
    """The proxy for `base_url` by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; never one to this machine."""
    proxies = getproxies()
    text = proxies.get(base_url.scheme) or proxies.get("all")
    if not text or _is_loopback(base_url.host) or proxy_bypass(base_url.host):
        return None
    try:
        proxy = httpx.Proxy(text if "://" in text else f"http://{text}")
    except (ValueError, httpx.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https") or not proxy.url.host:
        name = base_url.scheme.upper()
        raise ConfigError([f"{name}_PROXY: can't be used; allowed are http:// and https:// proxies"])
    return proxy


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
