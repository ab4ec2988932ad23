"""The TLS of connections to the API: whom to trust, and what to show for ourselves."""

import os
import ssl
import stat
from pathlib import Path
from typing import NoReturn
from weakref import WeakValueDictionary

import httpx
import structlog

from infobip_exporter.config.files import stamp_of
from infobip_exporter.config.schema import TlsConfig
from infobip_exporter.errors import ConfigError
from infobip_exporter.infobip.credentials import warn_if_all_may_read

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_NO_CERTIFICATES = "it holds no certificates in PEM form"

_shared: WeakValueDictionary[object, ssl.SSLContext] = WeakValueDictionary()
"""One for all who ask for the same: each takes half a megabyte."""

_log = structlog.get_logger()


class Tls:
    """What `config` asks for. Its files are read again when they change.

    Without a `ca_file`, the authorities are those that SSL_CERT_FILE or SSL_CERT_DIR names, else httpx's own. Raises
    ConfigError for files that can't be used; later the last good ones stay in use, and a warning says so.
    """

    def __init__(self, config: TlsConfig | None = None) -> None:
        self._config = config or TlsConfig()
        self._warned = ""
        self._context = self._present()

    def context(self) -> ssl.SSLContext:
        """The same one until a file changes."""
        try:
            self._context = self._present()
            self._warned = ""
        except ConfigError as error:
            if str(error) != self._warned:
                _log.warning("the TLS files can't be read, using the last ones", error=str(error))
                self._warned = str(error)
        return self._context

    def _present(self) -> ssl.SSLContext:
        config = self._config
        file = os.environ.get("SSL_CERT_FILE", "")
        files = {
            "tls_config.ca_file": config.ca_file,
            "tls_config.cert_file": config.cert_file,
            "tls_config.key_file": config.key_file,
            "SSL_CERT_FILE": Path(file) if file and not config.ca_file else None,
        }
        stamps = tuple(_stamp(name, path) for name, path in files.items())
        key = (config, file, os.environ.get("SSL_CERT_DIR", ""), stamps)
        context = _shared.get(key)
        if context is None:
            context = _shared[key] = _context_of(config)
        return context


def _stamp(name: str, path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError as error:
        raise _unusable(name, error.strerror) from None
    if not stat.S_ISREG(status.st_mode):  # to read a named pipe would take until somebody writes to it
        raise _unusable(name, "it is not a regular file")
    return stamp_of(status)


def _context_of(config: TlsConfig) -> ssl.SSLContext:
    context = _with_authorities(config)
    context.minimum_version = VERSIONS[config.min_version]
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.cert_file and config.key_file:
        _load_certificate(context, config.cert_file, config.key_file)
    return context


def _with_authorities(config: TlsConfig) -> ssl.SSLContext:
    name = "SSL_CERT_FILE"
    try:
        if config.ca_file is None:
            return httpx.create_ssl_context()
        name = "tls_config.ca_file"
        context = ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:  # ssl.SSLError is one, too
        raise _unusable(
            name, _NO_CERTIFICATES if isinstance(error, ssl.SSLError) else error.strerror
        ) from None
    # As in Go: what the file holds is trusted, root or not, also where it is not as RFC 5280 wants it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    warn_if_all_may_read(key_file, f"tls_config.key_file {key_file}")
    try:
        context.load_cert_chain(cert_file, key_file, password=no_password)
    except Encrypted:
        raise _unusable("tls_config.key_file", "it is encrypted") from None
    except ssl.SSLError as error:
        reason = (
            "it is not the key of the certificate in cert_file"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "it or cert_file is not in PEM form"
        )
        raise _unusable("tls_config.key_file", reason) from None
    except OSError as error:
        raise _unusable("tls_config.key_file or cert_file", error.strerror) from None


class Encrypted(Exception):
    """The key asks for a password."""


def no_password() -> NoReturn:
    raise Encrypted


def _unusable(name: str, reason: str | None) -> ConfigError:
    return ConfigError([f"{name}: can't be used: {reason or 'not readable'}"])
