"""TLS on real sockets: handshakes, client certificates, protocol versions, and clients that are none."""

import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from starlette.types import ASGIApp

from infobip_exporter.web.crowd import Limits
from infobip_exporter.web.server import Server
from infobip_exporter.web.web_config_file import WebConfigFile
from tests.web.test_server import (
    GET,
    HEALTHY,
    PATIENCE_S,
    Endless,
    everything,
    our_app,
    until,
    wait_until,
)

NAME = "localhost"


@dataclass
class Site:
    """A folder with a web configuration and what it names."""

    folder: Path
    authority: trustme.CA

    @property
    def file(self) -> Path:
        return self.folder / "web.yml"

    def certify(self, authority: trustme.CA | None = None) -> None:
        """A new certificate for the server."""
        made = (authority or self.authority).issue_cert(NAME, "127.0.0.1")
        made.private_key_pem.write_to_path(self.folder / "server.key")
        made.cert_chain_pems[0].write_to_path(self.folder / "server.crt")

    def write(self, more: str = "", rest: str = "") -> Path:
        text = f"tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{more}{rest}"
        self.file.write_text(text)
        return self.file

    def client(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, trustme.CA())
    site.authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    site.certify()
    return site


@contextmanager
def serving(
    file: Path, app: ASGIApp | None = None, **limits: float
) -> Iterator[tuple[Server, WebConfigFile]]:
    watched = WebConfigFile(file)
    server = Server(
        app or our_app(), ("127.0.0.1:0",), replace(Limits(connections=50), **limits), tls=watched.tls
    )
    server.start()
    try:
        yield server, watched
    finally:
        server.stop()


def port_of(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


@contextmanager
def secured(server: Server, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as client,
    ):
        yield client


def answer(server: Server, context: ssl.SSLContext) -> bytes:
    """What a client with this context gets."""
    with secured(server, context) as client:
        client.sendall(GET)
        return until(client, HEALTHY)


def is_refused(server: Server, context: ssl.SSLContext) -> bool:
    """Whether such a client is sent away. In TLS 1.3 that shows when it reads: the handshake is over for the client."""
    try:
        with secured(server, context) as client:
            client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return everything(client) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def looked_twice(watched: WebConfigFile) -> None:
    watched.look()
    watched.look()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_trusts_the_authority_is_served(site: Site, version: ssl.TLSVersion) -> None:
    context = site.client()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with serving(site.write()) as (server, _), secured(server, context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        for _ in range(2):
            client.sendall(GET)
            until(client, HEALTHY)


def test_pages_are_the_same_as_in_plain_http(site: Site) -> None:
    with serving(site.write()) as (server, _), secured(server, site.client()) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"infobip_up" in everything(client)


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(site: Site) -> None:
    with serving(site.write()) as (server, _):
        for _ in range(20):
            answer(server, site.client())


def test_a_version_below_the_least_is_refused(site: Site) -> None:
    context = site.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(site.write("  min_version: TLS13\n")) as (server, _):
        assert is_refused(server, context)
        assert answer(server, site.client())


def test_no_suite_without_forward_secrecy_or_with_cbc_is_spoken(site: Site) -> None:
    with serving(site.write()) as (server, _):
        for suite, refused in (
            ("ECDHE-ECDSA-AES128-GCM-SHA256", False),
            ("ECDHE-ECDSA-CHACHA20-POLY1305", False),
            ("ECDHE-ECDSA-AES256-SHA", True),
            ("ECDHE-ECDSA-AES128-SHA256", True),
            ("AES256-GCM-SHA384", True),
        ):
            context = site.client()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suite)
            assert is_refused(server, context) is refused, suite


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nobody_gets_a_ticket_that_would_spare_the_next_handshake(
    site: Site, version: ssl.TLSVersion
) -> None:
    context = site.client()
    context.minimum_version = context.maximum_version = version
    with serving(site.write()) as (server, _), secured(server, context) as client:
        client.sendall(GET)
        until(client, HEALTHY)
        assert client.session is None or not client.session.has_ticket


# --- client certificates ---

VERIFIED = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_required_client_certificate_has_to_be_the_authoritys(site: Site, version: ssl.TLSVersion) -> None:
    def client(certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = site.client(certificate)
        context.minimum_version = context.maximum_version = version
        return context

    with serving(site.write(VERIFIED)) as (server, _):
        assert answer(server, client(site.authority.issue_cert("prometheus")))
        for context in (client(), client(trustme.CA().issue_cert("prometheus"))):
            assert is_refused(server, context)


def test_a_certificate_only_looked_at_if_given_may_be_missing_but_not_wrong(site: Site) -> None:
    kind = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n"
    with serving(site.write(kind)) as (server, _):
        assert answer(server, site.client())
        assert answer(server, site.client(site.authority.issue_cert("prometheus")))
        assert is_refused(server, site.client(trustme.CA().issue_cert("prometheus")))


def test_an_intermediate_authority_alone_is_trusted_for_its_own_clients(site: Site) -> None:
    teams = site.authority.create_child_ca()
    teams.cert_pem.write_to_path(site.folder / "ca.crt")
    with serving(site.write(VERIFIED)) as (server, _):
        assert answer(server, site.client(teams.issue_cert("prometheus")))
        assert is_refused(server, site.client(site.authority.issue_cert("prometheus")))


@pytest.mark.parametrize(
    ("name", "let_in"),
    [
        ("prometheus.example", True),
        ("2001:db8::1", True),
        ("me@example.org", True),
        ("other.example", False),
        ("sub.prometheus.example", False),
        ("*.example", False),
    ],
)
def test_only_a_certificate_with_an_allowed_name_is_let_in(site: Site, name: str, let_in: bool) -> None:
    allowed = '  client_allowed_sans: [prometheus.example, "2001:DB8:0::1", me@example.org]\n'
    context = site.client(site.authority.issue_cert(name))
    with serving(site.write(VERIFIED + allowed)) as (server, _):
        assert is_refused(server, context) is not let_in


def test_no_answer_is_given_before_the_name_is_known_to_be_allowed(site: Site) -> None:
    context = site.client(site.authority.issue_cert("other.example"))
    app = Endless()
    with serving(site.write(VERIFIED + "  client_allowed_sans: [prometheus.example]\n"), app) as (server, _):
        for _ in range(5):
            assert is_refused(server, context)
        assert app.asked == 0


def test_why_a_client_was_refused_is_in_the_log_for_whoever_looks(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.write(VERIFIED)) as (server, _):
        assert is_refused(server, site.client())
    told = capsys.readouterr().out
    assert "[debug    ] no TLS with a client" in told
    assert "client=127.0.0.1" in told
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in told


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_shows_its_certificate_each_time_it_comes(site: Site, version: ssl.TLSVersion) -> None:
    """A session that is resumed would spare it that, also when the certificate has expired meanwhile."""
    context = site.client(site.authority.issue_cert("prometheus"))
    context.minimum_version = context.maximum_version = version
    with serving(site.write(VERIFIED)) as (server, _):
        with secured(server, context) as first:
            first.sendall(GET)
            until(first, HEALTHY)
            session = first.session
        with (
            socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=NAME, session=session) as again,
        ):
            again.sendall(GET)
            until(again, HEALTHY)
            assert not again.session_reused


# --- renewed ---


def test_an_expired_certificate_does_not_replace_a_sound_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.write()) as (server, watched):
        expired = site.authority.issue_cert(NAME, not_after=datetime.now(UTC) - timedelta(days=1))
        expired.private_key_pem.write_to_path(site.folder / "server.key")
        expired.cert_chain_pems[0].write_to_path(site.folder / "server.crt")
        looked_twice(watched)
        assert "tls_server_config.cert_file: has expired" in capsys.readouterr().out
        assert answer(server, site.client())
        site.certify()
        looked_twice(watched)
        assert "was read again" in capsys.readouterr().out


def test_a_renewed_certificate_is_shown_to_the_next_client_and_the_old_connection_stays(site: Site) -> None:
    with serving(site.write()) as (server, watched), secured(server, site.client()) as old:
        before = old.getpeercert(True)
        site.certify()
        watched.look()
        with secured(server, site.client()) as client:
            assert client.getpeercert(True) == before  # It may still be being written.
        watched.look()
        with secured(server, site.client()) as client:
            assert client.getpeercert(True) != before
        old.sendall(GET)
        until(old, HEALTHY)


def test_files_that_stay_the_same_are_read_no_more_whichever_the_configuration_names(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = WebConfigFile(site.write())
    for _ in range(3):
        watched.look()
    assert "was read again" not in capsys.readouterr().out
    site.write(VERIFIED)
    for _ in range(5):
        watched.look()
    assert capsys.readouterr().out.count("was read again") == 1
    site.authority.cert_pem.write_to_path(site.folder / "ca.crt", append=True)
    looked_twice(watched)
    assert capsys.readouterr().out.count("was read again") == 1


def test_a_new_authority_for_clients_shuts_the_old_ones_out(site: Site) -> None:
    old = site.client(site.authority.issue_cert("prometheus"))
    newer = trustme.CA()
    new = site.client(newer.issue_cert("prometheus"))
    with serving(site.write(VERIFIED)) as (server, watched):
        assert answer(server, old)
        newer.cert_pem.write_to_path(site.folder / "ca.crt")
        looked_twice(watched)
        assert answer(server, new)
        assert is_refused(server, old)


def test_a_certificate_without_its_key_keeps_the_old_pair_and_is_told_once(
    site: Site, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.write()) as (server, watched):
        key = (site.folder / "server.key").read_bytes()
        site.certify()
        new_key = (site.folder / "server.key").read_bytes()
        (site.folder / "server.key").write_bytes(key)
        for _ in range(4):
            watched.look()
        assert answer(server, site.client())
        told = capsys.readouterr().out
        assert told.count("the web configuration is wrong, keeping the last one") == 1
        assert "key_file: is not the key of the certificate in cert_file" in told
        (site.folder / "server.key").write_bytes(new_key)
        looked_twice(watched)
        assert "was read again" in capsys.readouterr().out
        assert answer(server, site.client())


def test_a_certificate_that_is_gone_and_comes_back_is_taken_up(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.write()) as (server, watched):
        (site.folder / "server.crt").unlink()
        looked_twice(watched)
        assert "must be an existing file" in capsys.readouterr().out
        assert answer(server, site.client())
        site.certify()
        looked_twice(watched)
        assert answer(server, site.client())


def test_tls_neither_begins_nor_ends_without_a_restart(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(site.write()) as (server, watched):
        site.file.write_text("")
        looked_twice(watched)
        assert "tls_server_config: TLS begins and ends with a restart" in capsys.readouterr().out
        assert answer(server, site.client())
    watched = WebConfigFile(site.file)
    assert watched.tls is None
    site.write()
    looked_twice(watched)
    assert watched.tls is None
    assert "TLS begins and ends with a restart" in capsys.readouterr().out


# --- clients that are none ---


def test_plain_http_on_the_tls_port_is_closed_without_a_word(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(site.write()) as (server, _):
        with socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) as client:
            client.sendall(GET)
            assert HEALTHY not in everything(client)
        assert answer(server, site.client())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("first", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_a_handshake_that_is_not_finished_is_given_up(
    site: Site, first: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(site.write(), handshake_s=0.3) as (server, _),
        socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) as client,
    ):
        client.sendall(first)
        everything(client)
        wait_until(lambda: not server.crowd.tasks)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_clients_that_never_shake_hands_make_room_for_those_who_do(site: Site) -> None:
    with serving(site.write()) as (server, _):
        silent = [socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) for _ in range(3 * 50)]
        try:
            assert answer(server, site.client())
            assert len(server.crowd.tasks) <= 50
        finally:
            for client in silent:
                client.close()


def test_nothing_is_left_of_those_who_made_room_or_went_away_in_their_handshake(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(site.write()) as (server, _):
        place = ("127.0.0.1", port_of(server))
        with ExitStack() as clients:
            for _ in range(3 * 50):
                clients.enter_context(socket.create_connection(place, PATIENCE_S))
            wait_until(lambda: len(server.crowd.tasks) == 50)
        for ending in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):  # reset, and closed as usual
            with socket.create_connection(place, PATIENCE_S) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ending)
                client.sendall(b"\x16\x03\x01")
        wait_until(lambda: not server.crowd.tasks)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_stopping_does_not_wait_for_handshakes(site: Site) -> None:
    with (
        serving(site.write(), handshake_s=60) as (server, _),
        socket.create_connection(("127.0.0.1", port_of(server)), PATIENCE_S) as client,
    ):
        wait_until(lambda: bool(server.crowd.tasks))
        server.stop(2.0)
        assert not [thread for thread in threading.enumerate() if thread.name == "web"]
        everything(client)


def test_a_tls_client_that_trickles_its_request_is_dropped(site: Site) -> None:
    with serving(site.write(), request_s=0.3) as (server, _), secured(server, site.client()) as client:
        client.sendall(GET[:5])
        assert everything(client) == b""
