"""The section `tls_server_config` of the web configuration, as what Python's TLS is set to.

What Python can't do as Go does is refused by name: a setting that is ignored protects nobody.
"""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from infobip_exporter.config import rules
from infobip_exporter.config.tree import Value

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OBSOLETE = ("TLS10", "TLS11")

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
"""Kinds that take any certificate without a look at who made it; Python always looks."""

_ALWAYS_ON = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The suites of TLS 1.3: neither Go nor Python leaves a choice."""

_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""Go's names of the suites up to TLS 1.2 that it holds to be safe, and OpenSSL's."""

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are secured. `files` are those it was made from."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str]
    files: tuple[Path, ...]

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client with this (verified) certificate may come in: one of its names has to be allowed."""
        if not self.allowed_sans:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return any(_canonical(name) in self.allowed_sans for _, name in names)


def read_tls(section: Value, folder: Path) -> Tls | None:
    """What `section` asks for; None where it is empty or, with the problems noted, wrong."""
    file = readable_file_in(folder)
    readers: dict[str, Callable[[Value], object]] = {
        "cert_file": lambda value: value.checked(file),
        "key_file": lambda value: value.checked(file),
        "client_ca_file": lambda value: value.checked(file),
        "client_auth_type": lambda value: value.checked(_client_auth),
        "client_allowed_sans": lambda value: _each(value, _san),
        "min_version": lambda value: value.checked(_version),
        "max_version": lambda value: value.checked(_version),
        "cipher_suites": lambda value: _each(value, _suite),
        "prefer_server_cipher_suites": lambda value: value.checked(rules.boolean),
        "curve_preferences": lambda value: _each(value, _curve),
        "cert": lambda value: value.wrong("is not read from here; name its file with cert_file", show=False),
        "key": lambda value: value.wrong("is not read from here; name its file with key_file", show=False),
        "client_ca": lambda value: value.wrong(
            "is not read from here; name its file with client_ca_file", show=False
        ),
    }
    given = section.members(list(readers))
    if not given:
        return None
    read: dict[str, Any] = {key: readers[key](value) for key, value in given.items()}
    for key, inline in (("cert_file", "cert"), ("key_file", "key")):
        if key not in given and inline not in given:
            section.wrong(f"has no {key}", show=False)
    _check_together(section, given, read)
    if {"cert_file", "key_file"} <= read.keys() and None not in read.values():
        return _made(given, read)
    return None


def readable_file_in(folder: Path) -> Callable[[str], Path]:
    """A rule: the path of a file that can be read, relative to `folder`."""
    path_of = rules.existing_file_in(folder)

    def rule(text: str) -> Path:
        path = path_of(text)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise ValueError(f"can't be read: {error.strerror}") from None

    return rule


def _each(values: Value, rule: Callable[[str], str]) -> tuple[str, ...] | None:
    """What `rule` makes of each value of a list; None where one is wrong."""
    items = values.items()
    if items is None:
        return None
    read = [item.checked(rule) for item in items]
    return None if None in read else tuple(text for text in read if text is not None)


def _client_auth(text: str) -> ssl.VerifyMode:
    if text in _UNVERIFIED:
        raise ValueError(
            "takes certificates of anybody's making, which Python's TLS does not; "
            "use VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        )
    return _CLIENT_AUTH[rules.one_of(list(_CLIENT_AUTH))(text)]


def _version(text: str) -> ssl.TLSVersion:
    if text in _OBSOLETE:
        raise ValueError("is obsolete and not spoken (RFC 8996); must be TLS12 or TLS13")
    return _VERSIONS[rules.one_of(list(_VERSIONS))(text)]


def _suite(text: str) -> str:
    if text in _ALWAYS_ON:
        return ""
    return _SUITES[rules.one_of([*_SUITES, *_ALWAYS_ON])(text)]


def _curve(text: str) -> str:
    return _CURVES[rules.one_of(list(_CURVES))(text)]


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
    if read.get("client_allowed_sans") == ():
        given["client_allowed_sans"].wrong("must list at least one name, or nobody would be let in")
    low, high = read.get("min_version"), read.get("max_version")
    if low and high and low > high:
        given["max_version"].wrong("is below min_version")
    suites = read.get("cipher_suites")
    if suites and not any(suites) and low != ssl.TLSVersion.TLSv1_3:
        given["cipher_suites"].wrong(
            "names suites of TLS 1.3 alone, which are always on; name one for TLS 1.2 too, or set min_version: TLS13"
        )
    curves = read.get("curve_preferences")
    if curves is not None and len(curves) > 1:
        given["curve_preferences"].wrong(
            "Python's TLS can hold to one curve, not to several; keep one, or none"
        )


def _made(given: Mapping[str, Value], read: Mapping[str, Any]) -> Tls | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = read.get("min_version", ssl.TLSVersion.TLSv1_2)
    context.maximum_version = read.get("max_version", ssl.TLSVersion.TLSv1_3)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # Each connection is verified anew, also after a CA or a certificate is gone.
    context.set_alpn_protocols(["http/1.1"])
    if not read.get("prefer_server_cipher_suites", True):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if suites := ":".join(filter(None, read.get("cipher_suites", ()))):
        context.set_ciphers(suites)
    for curve in read.get("curve_preferences", ()):
        context.set_ecdh_curve(curve)
    sound = _load_certificate(context, given, read["cert_file"], read["key_file"])
    if "client_ca_file" in read:
        sound = _load_ca(context, given["client_ca_file"], read["client_ca_file"]) and sound
        # As in Go: what the file holds is trusted, root or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = read.get("client_auth_type", ssl.CERT_NONE)
    files = tuple(read[key] for key in ("cert_file", "key_file", "client_ca_file") if key in read)
    return Tls(context, frozenset(read.get("client_allowed_sans", ())), files) if sound else None


class _Encrypted(Exception):
    """The key asks for a password."""


def _load_certificate(context: ssl.SSLContext, given: Mapping[str, Value], cert: Path, key: Path) -> bool:
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Encrypted:
        given["key_file"].wrong("is encrypted; nobody is there to type its password")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            given["key_file"].wrong("is not the key of the certificate in cert_file")
        elif error.reason and error.reason.endswith("TOO_SMALL"):
            given["cert_file"].wrong("holds a key too short to be safe")
        elif not _holds_certificates(cert):
            given["cert_file"].wrong("holds no certificate in PEM form")
        else:
            given["key_file"].wrong("holds no private key in PEM form")
    except OSError as error:
        given["cert_file"].wrong(f"or key_file can't be read: {error.strerror}")
    else:
        return True
    return False


def _load_ca(context: ssl.SSLContext, value: Value, path: Path) -> bool:
    if not _holds_certificates(path, context):
        value.wrong("holds no certificate in PEM form")
        return False
    return True


def _holds_certificates(path: Path, context: ssl.SSLContext | None = None) -> bool:
    try:
        (context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).load_verify_locations(path)
    except OSError:
        return False
    return True


def _no_password() -> NoReturn:
    raise _Encrypted
