"""TLS, client certificates and passwords as a whole: the program, curl, and a Prometheus with its own configuration."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trustme
import yaml

from tests.alerting.servers import HTTP, needs, process, until
from tests.end_to_end.programs import EAGER, START_S, Exporter, account, sandbox
from tests.end_to_end.scraper import scraping

PASSWORD = "correct horse"


class Guarded:
    """A running exporter that asks for a certificate and a password."""

    def __init__(self, folder: Path, exporter: Exporter) -> None:
        self.folder = folder
        self.address = exporter.address
        self._authority = trustme.CA()
        self.authority_file = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(self.authority_file)
        self.renew()
        client = self._authority.issue_cert("prometheus.example")
        client.private_key_pem.write_to_path(folder / "client.key")
        client.cert_chain_pems[0].write_to_path(folder / "client.crt")
        self.admit(PASSWORD)

    def renew(self) -> None:
        """A new certificate of the same authority."""
        server = self._authority.issue_cert("localhost", "127.0.0.1")
        server.private_key_pem.write_to_path(self.folder / "server.key")
        server.cert_chain_pems[0].write_to_path(self.folder / "server.crt")

    def admit(self, password: str) -> None:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(6)).decode()
        web: dict[str, Any] = {
            "tls_server_config": {
                "cert_file": "server.crt",
                "key_file": "server.key",
                "client_auth_type": "RequireAndVerifyClientCert",
                "client_ca_file": "ca.crt",
                "client_allowed_sans": ["prometheus.example"],
            },
            "http_server_config": {"headers": {"X-Frame-Options": "deny"}},
            "basic_auth_users": {"prometheus": hashed},
        }
        (self.folder / "web.yml").write_text(yaml.safe_dump(web))

    def curl(self, *flags: str, path: str = "/metrics", certificate: bool = True) -> tuple[int, str]:
        """The exit code, and what was printed: the headers and the page."""
        ours = ["--cert", "client.crt", "--key", "client.key"] if certificate else []
        command = ["curl", *"-sS -i --max-time 10 --noproxy * --cacert ca.crt".split(), *ours, *flags]
        command.append(f"https://{self.address}{path}")
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def code(self, *flags: str, path: str = "/metrics") -> int:
        return int((self.curl(*flags, path=path)[1].split() or ["", "0"])[1])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with sandbox() as api:
        exporter = Exporter(tmp_path / "exporter", {"accounts": [account(api)]})
        guarded = Guarded(exporter.folder, exporter)
        web = {"listen_address": exporter.address, "config_file": "web.yml"}
        exporter.configure({"accounts": [account(api)], "web": web, **EAGER})
        with process(exporter.command, exporter.folder / "exporter.log"):
            log = exporter.folder / "exporter.log"
            until(lambda: "msg=listening" in log.read_text(), START_S)
            yield guarded


@needs("curl")
def test_curl_is_let_in_with_certificate_and_password_only_also_after_they_were_renewed(
    guarded: Guarded,
) -> None:
    right = ("-u", f"prometheus:{PASSWORD}")
    code, page = guarded.curl(*right)
    assert code == 0, page
    assert page.startswith("HTTP/1.1 200")
    assert "infobip_exporter_build_info{" in page
    assert "x-frame-options: deny" in page.lower()
    assert guarded.code() == 401
    assert guarded.code("-u", "prometheus:wrong") == 401
    assert guarded.code(path="/-/healthy") == 200
    assert guarded.curl(*right, certificate=False)[0] != 0
    assert guarded.curl(*right, "--tls-max", "1.1")[0] != 0

    # A renewed certificate and a new password need no restart.
    guarded.renew()
    pinned = guarded.folder / "server.crt"
    # Trusting this one certificate alone: it is the new one that is shown.
    until(lambda: guarded.curl("--cacert", str(pinned), path="/-/healthy")[0] == 0)
    guarded.admit("another")
    until(lambda: guarded.code("-u", "prometheus:another") == 200)
    assert guarded.code("-u", f"prometheus:{PASSWORD}") == 401


@needs("prometheus")
def test_prometheus_scrapes_with_its_own_settings_for_tls_and_passwords(
    guarded: Guarded, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    job = {
        "scheme": "https",
        "basic_auth": {"username": "prometheus", "password_file": str(tmp_path / "password")},
        "tls_config": {
            "ca_file": str(guarded.authority_file),
            "cert_file": str(guarded.folder / "client.crt"),
            "key_file": str(guarded.folder / "client.key"),
        },
    }
    with scraping(tmp_path, [guarded.address], **job) as scraper:
        [target] = HTTP.get(f"{scraper.url}/api/v1/targets").json()["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")


def test_a_wrong_web_configuration_is_told_line_by_line_and_ends_run_and_check_with_2(tmp_path: Path) -> None:
    exporter = Exporter(tmp_path, {"accounts": []})
    sound = {"name": "main", "base_url": "http://127.0.0.1:1", "api_key": "a-key"}
    exporter.configure({"accounts": [sound], "web": {"config_file": "web.yml"}})
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: no.crt, min_version: TLS10}\n")
    place = f"{tmp_path}/web.yml:1: tls_server_config"
    told = [
        f"{place}: has no key_file",
        f'{place}.cert_file: must be an existing file (relative paths start at {tmp_path}), got "no.crt"',
        f'{place}.min_version: is obsolete and not supported (RFC 8996); must be TLS12 or TLS13, got "TLS10"',
    ]
    for command in ("run", "check"):
        code, said = exporter.run(command)
        assert (code, sorted(said)) == (2, sorted(told))
