"""TLS with private authorities and client certificates, against a real server on loopback."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from infobip_exporter.config.schema import Account, TlsConfig
from infobip_exporter.errors import ConfigError, RequestFailed
from infobip_exporter.infobip.access import Access
from infobip_exporter.infobip.query import Query
from infobip_exporter.infobip.tls import Tls
from infobip_exporter.model.record import Answer
from infobip_exporter.model.secret import Secret
from tests.infobip.test_client_network import GOOD, Server, answering

ONE = trustme.CA()
OTHER = trustme.CA()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(name: str = "127.0.0.1", clients: trustme.CA | None = None) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ONE.issue_cert(name).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            clients.configure_trust(context)
        servers.append(Server(answering(GOOD), context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def config(tmp_path: Path) -> TlsConfig:
    ONE.cert_pem.write_to_path(tmp_path / "ca.pem")
    return TlsConfig(ca_file=tmp_path / "ca.pem")


def client_certificate(folder: Path, authority: trustme.CA) -> dict[str, Path]:
    certificate = authority.issue_cert("exporter@example.com")
    (folder / "client.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / "client.key")
    return {"cert_file": folder / "client.pem", "key_file": folder / "client.key"}


def ask(server: Server, config: TlsConfig) -> Answer:
    async def fetch() -> Answer:
        account = Account(
            "main", f"https://127.0.0.1:{server.port}", api_key=Secret("key"), tls_config=config
        )
        client = Access(account, 5.0).client("sms", {})
        try:
            return await client.fetch(Query())
        finally:
            await client.close()

    return asyncio.run(fetch())


def failure(server: Server, config: TlsConfig) -> str:
    with pytest.raises(RequestFailed) as failed:
        ask(server, config)
    assert failed.value.code == "connection"
    return failed.value.text


def test_a_private_authority_is_trusted_and_it_alone(serve: Callable[..., Server], config: TlsConfig) -> None:
    assert ask(serve(), config).page.rows == 0
    assert "certificate verify failed" in failure(serve(), TlsConfig())
    assert config.ca_file
    OTHER.cert_pem.write_to_path(config.ca_file)
    assert "certificate verify failed" in failure(serve(), config)


def test_the_certificate_may_be_for_another_name(serve: Callable[..., Server], config: TlsConfig) -> None:
    assert "not valid for" in failure(serve("api.example.com"), config)
    assert ask(serve("api.example.com"), replace(config, server_name="api.example.com")).page.rows == 0


def test_any_certificate_is_taken_where_none_is_to_be_verified(serve: Callable[..., Server]) -> None:
    assert ask(serve("api.example.com"), TlsConfig(insecure_skip_verify=True)).page.rows == 0


def test_a_client_certificate_is_shown(
    serve: Callable[..., Server], config: TlsConfig, tmp_path: Path
) -> None:
    assert failure(serve(clients=OTHER), config)
    assert failure(serve(clients=OTHER), replace(config, **client_certificate(tmp_path, ONE)))
    with_certificate = replace(config, **client_certificate(tmp_path, OTHER))
    assert ask(serve(clients=OTHER), with_certificate).page.rows == 0


def test_no_older_version_than_the_least_is_spoken(config: TlsConfig) -> None:
    assert Tls(config).context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert Tls(replace(config, min_version="TLS13")).context().minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_changed_file_is_read_again_and_what_was_read_is_shared(config: TlsConfig) -> None:
    tls = Tls(config)
    first = tls.context()
    assert tls.context() is Tls(config).context() is first
    assert Tls(replace(config, min_version="TLS13")).context() is not first
    assert config.ca_file
    OTHER.cert_pem.write_to_path(config.ca_file)
    os.utime(config.ca_file, ns=(10**18, 10**18))
    assert tls.context() is not first
    assert tls.context().get_ca_certs() != first.get_ca_certs()


def test_the_last_good_files_stay_in_use_and_that_is_said_once(config: TlsConfig) -> None:
    tls = Tls(config)
    first = tls.context()
    assert config.ca_file
    sound = config.ca_file.read_text()
    with capture_logs() as logs:
        config.ca_file.write_text("junk")
        assert tls.context() is tls.context() is first
        config.ca_file.unlink()
        assert tls.context() is first
        config.ca_file.write_text(sound)
        tls.context()
        config.ca_file.unlink()
        tls.context()
    assert [line["error"].rpartition(": ")[2] for line in logs] == [
        "it holds no certificates in PEM form",
        "No such file or directory",
        "No such file or directory",
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"ca_file": "nowhere"}, "tls_config.ca_file: can't be used: No such file or directory"),
        (
            {"ca_file": "client.key"},
            "tls_config.ca_file: can't be used: it holds no certificates in PEM form",
        ),
        ({"cert_file": "junk"}, "tls_config.key_file: can't be used: it or cert_file is not in PEM form"),
        (
            {"key_file": "other.key"},
            "tls_config.key_file: can't be used: it is not the key of the certificate in cert_file",
        ),
        ({"key_file": "locked.key"}, "tls_config.key_file: can't be used: it is encrypted"),
        ({"ca_file": "pipe"}, "tls_config.ca_file: can't be used: it is not a regular file"),
    ],
)
def test_files_that_can_not_be_used_are_told_at_once(
    config: TlsConfig, tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    sound = replace(config, **client_certificate(tmp_path, OTHER))
    (tmp_path / "junk").write_text("junk")
    os.mkfifo(tmp_path / "pipe")
    ONE.issue_cert("x").private_key_pem.write_to_path(tmp_path / "other.key")
    (tmp_path / "locked.key").write_text(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"
    )
    with pytest.raises(ConfigError) as error:
        Tls(replace(sound, **{name: tmp_path / file for name, file in changed.items()}))
    assert error.value.problems == [told]


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False)])
def test_a_key_that_everybody_may_read_is_warned_of(
    config: TlsConfig, tmp_path: Path, *, mode: int, warned: bool
) -> None:
    files = client_certificate(tmp_path, OTHER)
    files["key_file"].chmod(mode)
    with capture_logs() as logs:
        Tls(replace(config, **files))
    assert [line["file"] for line in logs] == [f"tls_config.key_file {files['key_file']}"] * warned
