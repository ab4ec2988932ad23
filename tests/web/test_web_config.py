"""The web configuration: what is understood, and each kind of mistake with the whole line that tells it."""

import ssl
from os import mkfifo
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from infobip_exporter.config.files import read_file
from infobip_exporter.errors import ConfigError
from infobip_exporter.web import tls
from infobip_exporter.web.web_config import RateLimit, WebConfig, load_web_config

HASH = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze"
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"
VERIFIED = f"{TLS}, client_auth_type: RequireAndVerifyClientCert"
HASHES = 'must be a bcrypt hash, such as `htpasswd -nBC 10 ""` prints behind the colon'
TLS_KEYS = (
    "cert_file, key_file, client_ca_file, client_auth_type, client_allowed_sans, min_version, cert, key, client_ca, "
    "max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys, sound and otherwise."""
    folder = tmp_path_factory.mktemp("web")
    authority = trustme.CA()
    server, other = authority.issue_cert("localhost"), authority.issue_cert("other")
    server.private_key_pem.write_to_path(folder / "server.key")
    other.private_key_pem.write_to_path(folder / "other.key")
    (folder / "server.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "junk.pem").write_text("-----BEGIN JUNK-----\nAAAA\n-----END JUNK-----\n")
    (folder / "encrypted.key").write_bytes(
        load_pem_private_key(server.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password")
        )
    )
    return folder


def load(folder: Path, text: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(text)
    return load_web_config(path)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(folder, text)
    return [problem.removeprefix(f"{folder}/web.yml") for problem in error.value.problems]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "tls_server_config:\nbasic_auth_users:\n"])
def test_nothing_written_is_plain_http_for_everybody(folder: Path, text: str) -> None:
    assert load(folder, text) == WebConfig()


def test_everything_the_format_has_is_understood(folder: Path) -> None:
    config = load(
        folder,
        f"""
        tls_server_config:
          cert_file: server.crt
          key_file: server.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: {folder}/ca.crt
          client_allowed_sans: [prometheus.example, "::1"]
          min_version: TLS12
        http_server_config:
          http2: false
          headers:
            Content-Security-Policy: default-src 'self'
            X-Frame-Options: DENY
            X-Content-Type-Options: nosniff
            X-XSS-Protection: "0"
            Strict-Transport-Security:
        basic_auth_users: {{alice: {HASH}, Bob der Bär: {HASH.replace("2y", "2b")}}}
        rate_limit: {{interval: 500ms, burst: 20}}
        """,
    )
    assert config.tls is not None
    assert config.tls.files == (folder / "server.crt", folder / "server.key", folder / "ca.crt")
    assert config.tls.allowed_sans == {"prometheus.example", "::1"}
    assert {name: hashed.reveal()[:4] for name, hashed in config.users.items()} == {
        "alice": "$2y$",
        "Bob der Bär": "$2b$",
    }
    assert config.headers == {
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "0",
    }
    assert config.rate_limit == RateLimit(0.5, 20)
    assert config.notes == ()


@pytest.mark.parametrize("blank", ["", "''"])
def test_a_blank_header_is_not_set(folder: Path, blank: str) -> None:
    assert load(folder, f"http_server_config: {{headers: {{X-Frame-Options: {blank}}}}}").headers == {}


def test_a_dollar_sign_is_no_variable_here(folder: Path) -> None:
    config = load(folder, "http_server_config: {headers: {X-XSS-Protection: '1; $$ ${HOME}'}}")
    assert config.headers == {"X-XSS-Protection": "1; $$ ${HOME}"}


def test_the_protocol_settings_reach_the_context(folder: Path) -> None:
    defaults = load(folder, f"{TLS}}}").tls
    assert defaults is not None
    context = defaults.context()
    assert context is defaults.context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not defaults.is_expired
    chosen = load(folder, f"{VERIFIED}, client_ca_file: ca.crt, min_version: TLS13}}").tls
    assert chosen is not None
    context = chosen.context()
    assert context is not chosen.context()  # it would remember the sessions of others
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_what_is_not_as_one_may_think_is_noted(folder: Path) -> None:
    note = "http_server_config.http2: HTTP/1.1 is spoken here; clients agree on it by themselves"
    assert load(folder, "http_server_config: {http2: true}").notes == (note,)


@pytest.mark.parametrize(
    "text", ["rate_limit: {interval: 0, burst: 5}", "rate_limit: {burst: 5}", "rate_limit: {interval: 0s}"]
)
def test_a_rate_limit_without_an_interval_is_none(folder: Path, text: str) -> None:
    assert load(folder, text).rate_limit is None


def test_hashes_do_not_show(folder: Path) -> None:
    config = load(folder, f"basic_auth_users: {{alice: {HASH}}}")
    assert HASH[8:] not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tls_server: {}", ':1: tls_server: unknown key; did you mean "tls_server_config"?'),
        ("[]", ":1: : must be a mapping with the keys tls_server_config, http_server_config, "
               "basic_auth_users, rate_limit".replace(": : ", ": ")),
        ("tls_server_config: {a: 1, cert_file: server.crt, key_file: server.key}",
         f":1: tls_server_config.a: unknown key; allowed: {TLS_KEYS}"),
        ("tls_server_config: {min_version: TLS13, key_file: server.key}",
         ":1: tls_server_config: has no cert_file"),
        ("tls_server_config: {cert_file: server.crt}", ":1: tls_server_config: has no key_file"),
        ("tls_server_config: {cert: x, key_file: server.key}",
         ":1: tls_server_config.cert: is not read from here; name its file with cert_file"),
        ("tls_server_config: {cert_file: server.crt, key: SECRET}",
         ":1: tls_server_config.key: is not read from here; name its file with key_file"),
        (f"{VERIFIED}, client_ca: x}}",
         ":1: tls_server_config.client_ca: is not read from here; name its file with client_ca_file"),
        ("tls_server_config: {cert_file: no.crt, key_file: server.key}",
         ':1: tls_server_config.cert_file: must be an existing file (relative paths start at {folder}), got "no.crt"'),
        ("tls_server_config: {cert_file: junk.pem, key_file: server.key}",
         ':1: tls_server_config.cert_file: holds no certificate in PEM form, got "junk.pem"'),
        ("tls_server_config: {cert_file: server.crt, key_file: junk.pem}",
         ':1: tls_server_config.key_file: holds no private key in PEM form, got "junk.pem"'),
        ("tls_server_config: {cert_file: server.crt, key_file: other.key}",
         ':1: tls_server_config.key_file: is not the key of the certificate in cert_file, got "other.key"'),
        ("tls_server_config: {cert_file: server.crt, key_file: encrypted.key}",
         ":1: tls_server_config.key_file: is encrypted; nobody is there to type its password, "
         'got "encrypted.key"'),
        (f"{VERIFIED}, client_ca_file: junk.pem}}",
         ':1: tls_server_config.client_ca_file: holds no certificate in PEM form, got "junk.pem"'),
        (f"{VERIFIED}}}",
         ":1: tls_server_config.client_auth_type: needs a client_ca_file: whose certificates are taken, "
         'got "RequireAndVerifyClientCert"'),
        (f"{TLS}, client_ca_file: ca.crt}}",
         ":1: tls_server_config: has a client_ca_file, but client_auth_type asks for no certificate; "
         "set it to RequireAndVerifyClientCert"),
        (f"{TLS}, client_auth_type: NoClientCert, client_ca_file: ca.crt}}",
         ":1: tls_server_config: has a client_ca_file, but client_auth_type asks for no certificate; "
         "set it to RequireAndVerifyClientCert"),
        *((f"{TLS}, client_auth_type: {kind}, client_ca_file: ca.crt}}",
           ":1: tls_server_config.client_auth_type: takes certificates of anybody's making, which Python's TLS "
           f'does not; use VerifyClientCertIfGiven or RequireAndVerifyClientCert, got "{kind}"')
          for kind in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")),
        (f"{TLS}, client_auth_type: Always}}",
         ":1: tls_server_config.client_auth_type: must be one of NoClientCert, VerifyClientCertIfGiven, "
         'RequireAndVerifyClientCert, got "Always"'),
        (f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt, client_allowed_sans: [a]}}",
         ":1: tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert, "
         "or there may be no certificate to look at"),
        (f"{TLS}, client_allowed_sans: [a]}}",
         ":1: tls_server_config.client_allowed_sans: needs client_auth_type: RequireAndVerifyClientCert, "
         "or there may be no certificate to look at"),
        (f"{VERIFIED}, client_ca_file: ca.crt, client_allowed_sans: []}}",
         ":1: tls_server_config.client_allowed_sans: must list at least one name, or nobody would be let in"),
        (f"{VERIFIED}, client_ca_file: ca.crt, client_allowed_sans: ['']}}",
         ":1: tls_server_config.client_allowed_sans[0]: must be a DNS name, an IP address, an e-mail address "
         "or a URI"),
        *((f"{TLS}, min_version: {old}}}",
           ":1: tls_server_config.min_version: is obsolete and not supported (RFC 8996); must be TLS12 or TLS13, "
           f'got "{old}"')
          for old in ("TLS10", "TLS11")),
        (f"{TLS}, min_version: '1.2'}}",
         ':1: tls_server_config.min_version: must be one of TLS12, TLS13, got "1.2"'),
        *((f"{TLS}, {key}: {value}}}",
           f":1: tls_server_config.{key}: is not supported: the safe ones are used; remove it")
          for key, value in (("max_version", "TLS12"), ("cipher_suites", "[TLS_AES_128_GCM_SHA256]"),
                             ("prefer_server_cipher_suites", "true"), ("curve_preferences", "[X25519]"))),
        ("http_server_config: {http2: 2}", ':1: http_server_config.http2: must be true or false, got "2"'),
        ("http_server_config: {headers: {Server: x}}",
         ":1: http_server_config.headers.Server: unknown key; allowed: Content-Security-Policy, "
         "X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security"),
        ("http_server_config: {headers: {X-Frame-Options: all}}",
         ':1: http_server_config.headers.X-Frame-Options: must be deny or sameorigin, got "all"'),
        ("http_server_config: {headers: {X-Content-Type-Options: sniff}}",
         ':1: http_server_config.headers.X-Content-Type-Options: must be nosniff, got "sniff"'),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nB: c"}}',
         ":1: http_server_config.headers.X-XSS-Protection: must be printable ASCII, "
         'got "a\\r\\nB: c"'),
        ("basic_auth_users: {alice: SECRET}", f":1: basic_auth_users.alice: {HASHES}"),
        (f"basic_auth_users: {{alice: {HASH[:-1]}}}", f":1: basic_auth_users.alice: {HASHES}"),
        (f"basic_auth_users: {{alice: {HASH.replace('2y', '2x')}}}", f":1: basic_auth_users.alice: {HASHES}"),
        *((f"basic_auth_users: {{alice: {HASH.replace('$10$', cost)}}}",
           ":1: basic_auth_users.alice: must be a bcrypt hash of a cost from 4 to 15; 10 is usual")
          for cost in ("$03$", "$16$")),
        ("basic_auth_users: {alice: }", ":1: basic_auth_users.alice: has no value"),
        ("basic_auth_users: [alice]",
         ":1: basic_auth_users: must be a mapping of user names and bcrypt hashes"),
        *((f"basic_auth_users: {{? {name} : {HASH}}}",
           ":1: basic_auth_users: must be a mapping of user names and bcrypt hashes; "
           "is a space missing after a colon?")
          for name in ('"alice:SECRET"', '""', '"a\\nb"', r'"a\u202Eb"', "[a]")),
        (f"basic_auth_users: {{alice: {HASH}, alice: {HASH}}}",
         ":1: basic_auth_users.alice: is given twice, first in line 1"),
        ("rate_limit: {interval: 1, burst: 1}",
         ":1: rate_limit.interval: must be a duration from 0s to 24h: whole numbers with a unit, larger units "
         'first, such as 500ms, 30s, 2m, 1h30m (units: w, d, h, m, s, ms), got "1"'),
        ("rate_limit: {interval: 1s}",
         ":1: rate_limit: needs a burst of at least 1, or no request would be answered"),
        ("rate_limit: {interval: 1s, burst: -1}",
         ':1: rate_limit.burst: must be a whole number from 0 to 1000000, got "-1"'),
    ],
)  # fmt: skip
def test_a_mistake(folder: Path, text: str, told: str) -> None:
    assert mistakes(folder, text) == [told.replace("{folder}", str(folder))]


def test_all_mistakes_are_told_in_the_order_of_the_file(folder: Path) -> None:
    told = mistakes(
        folder,
        "rate_limit: {burst: x}\nbasic_auth_users:\n  alice: secret\n"
        "tls_server_config:\n  cert_file: no.crt\n  key_file: no.key\n",
    )
    assert [line.split(": ")[:2] for line in told] == [
        [":1", "rate_limit.burst"],
        [":3", "basic_auth_users.alice"],
        [":5", "tls_server_config.cert_file"],
        [":6", "tls_server_config.key_file"],
    ]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    for make, told in (
        (lambda: None, "can't be read: No such file or directory"),
        (path.mkdir, "can't be read: Is a directory"),
        (lambda: (path.rmdir(), mkfifo(path)), "can't be read: not a regular file"),
    ):
        make()
        with pytest.raises(ConfigError) as error:
            load_web_config(path)
        assert error.value.problems == [f"{path}: {told}"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a: [", "is not valid YAML"),
        (b"#" * 300_000, "is too large for a configuration"),
        (b"#" * 3_000_000, "is too large for a configuration"),
    ],
    ids=["bytes", "yaml", "large", "huge"],
)
def test_a_file_that_is_no_configuration_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "web.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_web_config(path)
    assert told in str(error.value)


def test_a_certificate_that_may_not_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, most: int) -> bytes:
        if path.name == "server.key":
            raise PermissionError(13, "Permission denied")
        return read_file(path, most)

    # Tests may run as root, whom nothing is refused.
    monkeypatch.setattr(tls, "read_file", refused)
    told = ':1: tls_server_config.key_file: can\'t be read: Permission denied, got "server.key"'
    assert mistakes(folder, f"{TLS}}}") == [told]
