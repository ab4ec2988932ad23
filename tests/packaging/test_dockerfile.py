"""The Dockerfile: what ends in the image, who runs it, and when it is healthy. `make lint` asks hadolint."""

import json
import os
import re
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from infobip_exporter.arguments import parser
from infobip_exporter.config.schema import Web
from infobip_exporter.health import URL
from tests.alerting.servers import Answering, answered_by
from tests.docs.pages import REPOSITORY

CONFIG = "/etc/infobip-exporter/config.yaml"
# As Docker reads it: a line ends where no backslash does, and comments are not there.
LINES = [
    re.sub(r"\\\n", "", line)
    for line in re.findall(
        r"^(?:[^\n]*\\\n)*[^\n]+$",
        re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE),
        re.MULTILINE,
    )
]
STAGES = "\n".join(LINES).split("\nFROM ")[1:]


def instruction(name: str, stage: str = STAGES[-1]) -> str:
    [text] = re.findall(rf"^{name} (.*)$", stage, re.MULTILINE)
    return str(text)


@contextmanager
def server(status: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """One that answers /-/healthy with `status`, any other path with 404; where it is."""

    class Healthy(Answering):
        def respond(self) -> None:
            self.answer(status if self.path == "/-/healthy" else 404, b"")

    with answered_by(Healthy, tls) as url:
        yield f"{url}/-/healthy"


def is_healthy(url: str) -> bool:
    python, *arguments = json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2])
    assert python == "python"
    # A proxy on the way to the API is none on the way to oneself.
    environment = os.environ | {"HEALTH_URL": url, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ran.stderr == b""
    return ran.returncode == 0


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (401, False)])
def test_it_is_healthy_when_the_exporter_says_so(status: int, healthy: bool) -> None:
    with server(status) as url:
        assert is_healthy(url) == healthy


def test_it_is_healthy_behind_tls_whatever_name_the_certificate_has() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("exporter.example").configure_cert(tls)
    with server(200, tls) as url:
        assert is_healthy(url)


def test_it_is_not_healthy_when_nobody_listens() -> None:
    with server(200) as url:
        pass
    assert not is_healthy(url)


def test_asking_for_health_imports_next_to_nothing() -> None:
    # It is done twice a minute for as long as the container runs.
    code = "import sys, infobip_exporter.health; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not {"ssl", "http.client", "urllib.request", "email", "structlog", "argparse"} & set(
        ran.stdout.split()
    )


def test_it_asks_for_health_where_the_exporter_listens_by_default() -> None:
    port = Web().listen_address[0].rpartition(":")[2]
    assert f"\nENV HEALTH_URL={URL}\n" in STAGES[-1]
    assert f"http://127.0.0.1:{port}/-/healthy" == URL
    assert instruction("EXPOSE") == port


def test_the_image_gets_what_was_built_and_a_user_and_nothing_is_installed_into_it() -> None:
    assert [stage.split()[0] for stage in STAGES] == ["${PYTHON}", "${PYTHON}"]
    assert instruction("COPY") == "--from=build /opt/infobip-exporter /opt/infobip-exporter"
    commands = [part.split()[0] for part in instruction("RUN").split("&&")]
    assert commands == ["groupadd", "useradd", "install", "install", "python"]


def test_the_standard_library_and_the_packages_are_compiled_whatever_the_times_of_the_files() -> None:
    compiled = "python -m compileall -q --invalidation-mode unchecked-hash "
    assert f"bin/{compiled}/opt/infobip-exporter/lib" in STAGES[0]
    assert all(
        "--no-compile" in line for line in re.findall(r"infobip-exporter/bin/pip install (.*)", STAGES[0])
    )
    _, _, library = instruction("RUN").partition(f"&& {compiled}-x /site-packages/ ")
    [code] = re.findall(r"python -c '(.*)'", library)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert Path(told.strip()).samefile(Path(os.__file__).parent)


def test_a_signal_waits_until_the_first_process_can_catch_it() -> None:
    *blocking, command = json.loads(instruction("ENTRYPOINT"))
    assert blocking == ["env", "--block-signal=TERM"]  # tests/test_signals.py tries them
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        assert command in tomllib.load(file)["project"]["scripts"]


def test_the_configuration_is_looked_for_outside_of_the_volume() -> None:
    arguments = vars(parser().parse_args(json.loads(instruction("CMD"))))
    assert (arguments["command"], arguments["config.file"]) == ("run", CONFIG)
    assert not CONFIG.startswith(instruction("VOLUME"))
    assert f"install -d {Path(CONFIG).parent}" in instruction("RUN")


def test_what_is_built_is_locked_by_hash_and_compiles_nothing() -> None:
    installs = re.findall(r"pip install ([^&\n]*)", STAGES[0])
    assert len(installs) == 3
    for each in installs:
        locked = "--require-hashes --only-binary=:all: -r requirements" in each
        assert locked or "--no-deps --no-index" in each, each


def test_it_does_not_run_as_root_and_writes_its_state_alone() -> None:
    user, group = map(int, instruction("USER").split(":"))
    assert user != 0 != group
    # The group 0 is for any other user: OpenShift chooses one, with that group.
    assert f"install -d -o {user} -g 0 -m 0770 {instruction('VOLUME')}" in instruction("RUN")
    assert instruction("WORKDIR") == instruction("VOLUME") == "/var/lib/infobip-exporter"


def test_what_is_copied_is_let_through_and_nothing_else() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", STAGES[0], re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert "*" in ignored
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in copied)


def test_compose_runs_it_with_nothing_but_its_volume_to_write() -> None:
    exporter = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["exporter"]
    assert exporter["read_only"] is True
    assert exporter["cap_drop"] == ["ALL"]
    assert exporter["volumes"] == [f"./config.yaml:{CONFIG}:ro", f"state:{instruction('VOLUME')}"]


def test_compose_runs_what_the_image_does_unless_it_is_told_of_another_command() -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    command = yaml.safe_load(text)["services"]["exporter"]["command"]
    assert command == f"${{EXPORTER_COMMAND:-{' '.join(json.loads(instruction('CMD')))}}}"
    [demo] = re.findall(r'EXPORTER_COMMAND="(.*)" docker compose up', text)
    assert vars(parser().parse_args(demo.split()))["command"] == "demo"


def test_the_composition_of_replicas_has_two_that_are_scraped_as_one() -> None:
    composed = yaml.safe_load((REPOSITORY / "compose.ha.yaml").read_text())
    exporters = [name for name in composed["services"] if name.startswith("exporter")]
    alone = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["exporter"]
    for name in exporters:
        service = composed["services"][name]
        for key in ("read_only", "cap_drop", "security_opt", "stop_grace_period"):
            assert service[key] == alone[key]
        assert "PGPASSWORD" in service["environment"]
    [job] = yaml.safe_load(composed["configs"]["prometheus"]["content"])["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:10470" for name in exporters]}]
    shipped = yaml.safe_load((REPOSITORY / "prometheus" / "prometheus.yml").read_text())
    assert job["metric_relabel_configs"] == shipped["scrape_configs"][0]["metric_relabel_configs"]
