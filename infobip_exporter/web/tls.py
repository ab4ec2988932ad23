"""The section `tls_server_config` of the web configuration, as what Python's TLS is set to.

What Python can't do as Go does is refused by name: a setting that is ignored protects nobody.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from infobip_exporter.config import rules
from infobip_exporter.config.files import read_file
from infobip_exporter.config.sections import EXISTING_FILE, Rule, Whole, each, made, sound
from infobip_exporter.config.tree import Value
from infobip_exporter.infobip.tls import VERSIONS, Encrypted, no_password

_LARGEST_FILE = 1024 * 1024
"""Bytes of a certificate, a key or an authority's certificates."""

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
"""Kinds that take any certificate without a look at who made it; Python always looks."""

_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those that Go and Mozilla's intermediate configuration call safe: forward secrecy, and no CBC."""

_EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are secured. `files` are those it was made from."""

    context: Callable[[], ssl.SSLContext]
    """For one connection."""
    allowed_sans: frozenset[str]
    files: tuple[Path, ...]
    is_expired: bool
    """Whether the certificate was when it was read."""

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client with this (verified) certificate may come in: one of its names has to be allowed."""
        if not self.allowed_sans:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return any(_canonical(name) in self.allowed_sans for _, name in names)


def read_tls(section: Value) -> Tls | None:
    """What `section` asks for; None where it is empty or, with the problems noted, wrong."""
    given = section.members(list(_KEYS))
    if not given:
        return None
    found = made(given, _KEYS.__getitem__)
    for key, inline in (("cert_file", "cert"), ("key_file", "key")):
        if key not in given and inline not in given:
            section.wrong(f"has no {key}", show=False)
    _check_together(section, given, found)
    return _tls_of(given, sound(found)) if found.get("cert_file") and found.get("key_file") else None


class _File(NamedTuple):
    path: Path
    content: bytes


def _file(value: Value) -> _File | None:
    """A file that can be read, with its content."""
    path = EXISTING_FILE.read(value)
    if not isinstance(path, Path):
        return None
    try:
        return _File(path, read_file(path, _LARGEST_FILE))
    except OSError as error:
        value.wrong(f"can't be read: {error.strerror}")
        return None


def _refused(reason: str) -> Whole:
    return Whole(lambda value: value.wrong(reason, show=False))


def _client_auth(text: str) -> ssl.VerifyMode:
    if text in _UNVERIFIED:
        raise ValueError(
            "takes certificates of anybody's making, which Python's TLS does not; "
            "use VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        )
    return _CLIENT_AUTH[rules.one_of(list(_CLIENT_AUTH))(text)]


def _san(text: str) -> str:
    if not text:
        raise ValueError("must be a DNS name, an IP address, an e-mail address or a URI")
    return _canonical(text)


def _canonical(name: str) -> str:
    """An IP address in its one form; any other name as it is."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


_KEYS: Mapping[str, Rule | Whole] = {
    **dict.fromkeys(("cert_file", "key_file", "client_ca_file"), Whole(_file)),
    "client_auth_type": _client_auth,
    "client_allowed_sans": each(_san, "must list at least one name, or nobody would be let in"),
    "min_version": rules.tls_version,
    **{
        key: _refused(f"is not read from here; name its file with {key}_file")
        for key in ("cert", "key", "client_ca")
    },
    **dict.fromkeys(
        ("max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
        _refused("is not supported: the safe ones are used; remove it"),
    ),
}


def _check_together(section: Value, given: Mapping[str, Value], read: Mapping[str, Any]) -> None:
    """Note the values that are right by themselves and wrong beside each other."""
    verify = read.get("client_auth_type", ssl.CERT_NONE)
    has_ca = "client_ca_file" in given or "client_ca" in given
    if verify == ssl.CERT_NONE and has_ca:
        section.wrong(
            "has a client_ca_file, but client_auth_type asks for no certificate; "
            "set it to RequireAndVerifyClientCert",
            show=False,
        )
    if verify in {ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED} and not has_ca:
        given["client_auth_type"].wrong("needs a client_ca_file: whose certificates are taken")
    if "client_allowed_sans" in given and verify in {ssl.CERT_NONE, ssl.CERT_OPTIONAL}:
        given["client_allowed_sans"].wrong(
            "needs client_auth_type: RequireAndVerifyClientCert, or there may be no certificate to look at"
        )


def _tls_of(given: Mapping[str, Value], read: Mapping[str, Any]) -> Tls | None:
    cert, key, authority = read["cert_file"], read["key_file"], read.get("client_ca_file")
    verify = read.get("client_auth_type", ssl.CERT_NONE)

    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = VERSIONS[read.get("min_version", "TLS12")]
        # Each connection is verified anew, also when a certificate has expired or an authority is gone.
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        made.num_tickets = 0
        made.set_alpn_protocols(["http/1.1"])
        made.set_ciphers(_SUITES)
        with _as_file(cert.content) as cert_path, _as_file(key.content) as key_path:
            made.load_cert_chain(cert_path, key_path, password=no_password)
        if authority:
            made.load_verify_locations(cadata=authority.content.decode("latin-1"))
            # As in Go: what the file holds is trusted, root or not.
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        made.verify_mode = verify
        return made

    if not _is_sound(given, cert, authority, context):
        return None
    first = context()
    files = tuple(each.path for each in (cert, key, authority) if each)
    return Tls(
        # A context keeps TLS 1.2's sessions, and a client that comes back with one shows no certificate. Python can't
        # switch that off, so where certificates are asked for each connection gets a context of its own.
        (lambda: first) if verify == ssl.CERT_NONE else context,
        frozenset(read.get("client_allowed_sans", ())),
        files,
        _is_expired(first, cert.content),
    )


def _is_sound(
    given: Mapping[str, Value], cert: _File, authority: _File | None, context: Callable[[], ssl.SSLContext]
) -> bool:
    """Whether a `context` can be made. If not, why is noted."""
    is_sound = True
    if authority and not _holds_certificates(authority.content):
        given["client_ca_file"].wrong("holds no certificate in PEM form")
        is_sound = False
    try:
        context()
    except Encrypted:
        given["key_file"].wrong("is encrypted; nobody is there to type its password")
    except ssl.SSLError as error:
        if not is_sound and _holds_certificates(cert.content):
            return False
        if error.reason == "KEY_VALUES_MISMATCH":
            given["key_file"].wrong("is not the key of the certificate in cert_file")
        elif error.reason and error.reason.endswith("TOO_SMALL"):
            given["cert_file"].wrong("holds a key too short to be safe")
        elif not _holds_certificates(cert.content):
            given["cert_file"].wrong("holds no certificate in PEM form")
        else:
            given["key_file"].wrong("holds no private key in PEM form")
    else:
        return is_sound
    return False


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path at which `content` can be read: Python loads a key from nothing else, and the file may have changed."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _holds_certificates(content: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode("latin-1"))
    except (ssl.SSLError, ValueError):
        return False
    return True


def _is_expired(context: ssl.SSLContext, cert: bytes) -> bool:
    """Whether a client that trusts the certificate refuses it for its date, which only OpenSSL reads."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=cert.decode("latin-1"))
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return error.verify_code == _EXPIRED
    return False
