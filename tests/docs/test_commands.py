"""Each block of commands in the docs is run here, or is an example for the reason that is given here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from tests.alerting.servers import free_address, ready, until
from tests.docs.pages import DOCS, PAGES, REPOSITORY, blocks, name_of
from tests.end_to_end.programs import sandbox

RUN = {
    "install -D",
    "cd /var/lib/infobip-exporter",
    "infobip-exporter state backup",
    "sed -i",
    ".venv/bin/python -m infobip_sandbox",
}
"""How blocks begin that are run below."""

EXAMPLES = {
    "make demo": "tests/test_demo.py runs the demo, `make test` is this",
    "python3 -m venv": "installs from PyPI and starts a service; tests/packaging tries wheel and unit",
    "docker build": "needs Docker; tests/packaging/test_dockerfile.py reads the Dockerfile",
    "kubectl create": "needs a cluster; tests/packaging/test_kubernetes.py builds the overlay",
    "infobip-exporter state copy": "names a database; tests/ledger/test_copying.py copies there and back",
    "helm -n": "needs a cluster; tests/packaging/test_helm.py renders the chart",
    "/opt/infobip-exporter/bin/python": "asks for a password",
}
"""How the others begin, and why they are not run."""


def test_each_block_of_commands_is_run_or_has_its_reason() -> None:
    found = [code for page in PAGES for code in blocks(page, "sh")]
    assert len(found) >= 10
    assert [code for code in found if not code.startswith((*RUN, *EXAMPLES))] == []
    for start in (*RUN, *EXAMPLES):
        assert any(code.startswith(start) for code in found), start


def block(page: str, start: str) -> str:
    [code] = [code for code in blocks(DOCS / page, "sh") if code.startswith(start)]
    return code


def run(code: str, folder: Path, **environment: str) -> str:
    """What the commands print. They must succeed."""
    done = subprocess.run(
        ["sh", "-eu", "-c", code], cwd=folder, check=False, timeout=60, capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_completion_and_manual_page_are_installed_where_there_is_nothing_yet(tmp_path: Path) -> None:
    code = block("operate.md", "install -D")
    run(re.sub(r" /usr/", f" {tmp_path}/usr/", code), REPOSITORY)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(code.splitlines())


def test_the_links_of_the_alerts_are_pointed_elsewhere(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "prometheus", tmp_path / "prometheus")
    run(block("dashboards-and-alerts.md", "sed -i"), tmp_path)
    rules = "".join(path.read_text() for path in (tmp_path / "prometheus/rules").glob("*.yml"))
    links = re.findall(r"^ +dashboard_url: (\S+/d/)", rules, re.MULTILINE)
    assert set(links) == {"https://grafana.example.com/d/"}


def test_the_simulated_infobip_starts_alone() -> None:
    address = free_address()
    code = block("start.md", ".venv/bin/python -m infobip_sandbox").partition("#")[0]
    command = code.replace(".venv/bin/python", sys.executable).replace("127.0.0.1:8080", address).split()
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: ready(f"http://{address}/sandbox/now"), within_s=20)
            answer = httpx.get(
                f"http://{address}/instagram/1/logs", headers={"Authorization": "App sandbox-key"}
            )
            assert answer.status_code == 200
        finally:
            process.terminate()


def test_check_state_and_backup_beside_the_installed_service(tmp_path: Path) -> None:
    program, etc, state = (
        tmp_path / place
        for place in ("opt/infobip-exporter/bin/infobip-exporter", "etc/infobip-exporter", "var/lib/infobip-exporter")
    )  # fmt: skip
    for folder in (program.parent, etc, state, tmp_path / "backup"):
        folder.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{REPOSITORY}/exporter.py" "$@"\n')
    program.chmod(0o755)
    (etc / "api_key").write_text("sandbox-key\n")
    with sandbox() as api:
        [accounts] = [code for code in blocks(DOCS / "operate.md", "yaml") if "CREDENTIALS_DIRECTORY" in code]
        (etc / "config.yaml").write_text(accounts.replace("https://xxxxx.api.infobip.com", api.base_url))
        address = free_address()
        with subprocess.Popen(
            [program, "run", f"--config.file={etc}/config.yaml", f"--web.listen-address={address}"],
            cwd=state, stderr=subprocess.DEVNULL, env=os.environ | {"CREDENTIALS_DIRECTORY": str(etc)},
        ) as service:  # fmt: skip
            try:
                until(lambda: ready(f"http://{address}/-/ready"), within_s=20)
                beside = block("operate.md", "cd /var/lib/infobip-exporter")
                printed = run(re.sub(r"/(?=(var|etc|opt)/)", f"{tmp_path}/", beside), tmp_path)
                assert "ok    main/instagram" in printed
                assert "  watermark " in printed

                backup = block("operate.md", "infobip-exporter state backup")
                options = f" --config.file={etc}/config.yaml "
                run(
                    backup.replace(" /backup", f"{options}{tmp_path}/backup"), state,
                    PATH=f"{program.parent}:{os.environ['PATH']}",
                )  # fmt: skip
                assert (tmp_path / "backup/infobip-exporter.db").stat().st_size > 0
            finally:
                service.terminate()


def test_the_wheel_is_named_where_make_leaves_it() -> None:
    named = [
        (name_of(page), word)
        for page in PAGES
        for code in blocks(page, "sh")
        for word in re.findall(r"\S*infobip_exporter-\S*\.whl", code)
    ]
    assert named
    assert all(word.startswith("dist/") for _, word in named), named
