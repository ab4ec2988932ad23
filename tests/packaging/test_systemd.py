"""The systemd unit: systemd understands it, it starts the installed command, and it gives the service little."""

import os
import re
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

from infobip_exporter import app, cli
from infobip_exporter.arguments import UNUSABLE, parser
from infobip_exporter.config.load import load_config
from infobip_exporter.systemd import tell_ready
from tests.alerting.servers import needs
from tests.docs.pages import REPOSITORY

UNIT = REPOSITORY / "packaging" / "systemd" / "infobip-exporter.service"
PROGRAM = "/opt/infobip-exporter/bin/infobip-exporter"


def directive(name: str) -> str:
    """The one value of a directive; an empty one is a value too."""
    [value] = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(value)


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # The program need not be installed here: another one takes its place. Its path is tested below.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(f"ExecStart={PROGRAM}", "ExecStart=/bin/true"))
    verified = systemd_analyze("verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, "")


@needs("systemd-analyze")
def test_what_the_service_could_do_to_the_machine_is_next_to_nothing() -> None:
    # Of 100; 11 with systemd 252. What is left is the internet and the machine's own files, to read.
    judged = systemd_analyze("security", "--offline=true", "--threshold=15", UNIT)
    assert judged.returncode == 0, judged.stdout


def test_it_starts_the_installed_command_with_flags_that_it_has() -> None:
    program, command, *flags = directive("ExecStart").split()
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        assert Path(program).name in tomllib.load(file)["project"]["scripts"]
    arguments = parser().parse_args([command, *flags])
    assert vars(arguments)["config.file"] == "/etc/infobip-exporter/config.yaml"
    # Where the Dockerfile installs it too.
    assert program == PROGRAM
    assert f"ENV PATH={Path(program).parent}:" in (REPOSITORY / "Dockerfile").read_text()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_it_takes_signals(abstract: bool, tmp_path: Path) -> None:
    # So `systemctl reload` right after `systemctl restart` waits until there is somebody to reload.
    assert directive("Type") == "notify"
    name = f"infobip-exporter-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(30)
        systemd.bind(f"\0{name}" if abstract else name)
        tell_ready({"NOTIFY_SOCKET": f"@{name}" if abstract else name})
        assert systemd.recv(100) == b"READY=1"


def test_run_tells_systemd_once_it_has_read_its_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(*_: object, **_flags: object) -> int:
        assert systemd.recv(100) == b"READY=1"
        return 7

    (tmp_path / "config.yaml").write_text(
        "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: 0123456789}]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(app, "run", run)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.setblocking(False)
        systemd.bind(str(tmp_path / "notify"))
        assert cli.main(["run", "--config.file=none.yaml"]) == UNUSABLE
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        assert cli.main(["run"]) == 7


def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    tell_ready({})
    tell_ready({"NOTIFY_SOCKET": str(tmp_path / "gone")})


def test_the_key_file_that_it_speaks_of_is_the_one_that_systemd_hands_over(tmp_path: Path) -> None:
    name, source = directive("LoadCredential").split(":")
    assert source == "/etc/infobip-exporter/api_key"
    [key] = re.findall(r"api_key_file: \S+", UNIT.read_text())
    (tmp_path / name).write_text("0123456789")
    config = tmp_path / "config.yaml"
    config.write_text(f"accounts:\n  - name: main\n    base_url: https://x.api.infobip.com\n    {key}\n")
    [account] = load_config(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).accounts
    assert account.api_key_file == tmp_path / name


def test_it_may_write_its_state_alone_and_call_what_services_call_less_what_needs_rights() -> None:
    assert directive("ProtectSystem") == "strict"
    assert directive("StateDirectory") == "infobip-exporter"
    assert directive("WorkingDirectory") == "%S/infobip-exporter"
    assert "ReadWritePaths=" not in UNIT.read_text()
    filters = re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert filters == ["@system-service", "~@privileged @resources"]


def test_it_is_given_the_time_to_end_and_is_started_again_however_it_ended() -> None:
    assert directive("TimeoutStopSec") == "10s"
    # systemd takes an end by SIGHUP for a clean one.
    assert directive("Restart") == "always"
    assert directive("StartLimitIntervalSec") == "0"
