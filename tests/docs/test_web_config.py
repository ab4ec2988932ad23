"""What docs/web-config.md shows can be used as it stands."""

from pathlib import Path

import trustme
import yaml

from infobip_exporter.web.basic_auth import MOST_WRONG
from infobip_exporter.web.check_line import MOST_OF_AN_ADDRESS, MOST_WAITING
from infobip_exporter.web.crowd import Limits
from infobip_exporter.web.web_config import COSTLIEST, load_web_config
from tests.alerting.servers import accepted, needs
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "web-config.md"


def issue(folder: Path, *names: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    for name in names:
        made = authority.issue_cert("exporter.example.org")
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")


def test_the_file_shown_is_taken_with_everything_in_it(tmp_path: Path) -> None:
    issue(tmp_path, "server")
    (tmp_path / "web.yml").write_text(blocks(PAGE, "yaml")[0])
    config = load_web_config(tmp_path / "web.yml")
    assert config.tls is not None
    assert config.tls.allowed_sans == {"prometheus.example.org"}
    assert list(config.users) == ["prometheus"]
    assert len(config.headers) == 2
    assert config.rate_limit is not None
    assert config.notes == ()


@needs("promtool")
def test_the_file_shown_is_the_toolkit_s_own(tmp_path: Path) -> None:
    issue(tmp_path, "server")
    shown = yaml.safe_load(blocks(PAGE, "yaml")[0])
    # Debian's promtool is older than these two.
    del shown["rate_limit"], shown["tls_server_config"]["client_allowed_sans"]
    (tmp_path / "web.yml").write_text(yaml.safe_dump(shown))
    accepted("promtool", "check", "web-config", tmp_path / "web.yml")


@needs("promtool")
def test_the_scrape_configuration_shown_is_prometheus_own(tmp_path: Path) -> None:
    issue(tmp_path, "prometheus")
    (tmp_path / "password").write_text("secret")
    shown = blocks(PAGE, "yaml")[1].replace("/etc/prometheus/infobip-password", "password")
    (tmp_path / "prometheus.yml").write_text(shown)
    accepted("promtool", "check", "config", "prometheus.yml", folder=tmp_path)


def test_the_numbers_told_are_those_that_hold() -> None:
    page = " ".join(PAGE.read_text().split())
    assert (
        f"{MOST_WAITING} checks of each kind may wait, {MOST_OF_AN_ADDRESS} of them from one address" in page
    )
    assert f"the last {MOST_WRONG} wrong ones" in page
    assert f"a cost from 4 to {COSTLIEST}" in page
    assert f"A handshake has {Limits().handshake_s:.0f} seconds" in page
