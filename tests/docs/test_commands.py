"""Each block of commands in the docs is run here, or is an example for the reason that is given here."""

import re
import subprocess
from pathlib import Path

from tests.docs.pages import DOCS, PAGES, REPOSITORY, blocks, name_of

RUN = {"install -D"}
"""How blocks begin that are run below."""

EXAMPLES = {
    "make demo": "tests/test_demo.py runs the demo, `make test` is this",
    "python3 -m venv": "installs from PyPI and starts a service; tests/packaging tries wheel and unit",
    "cd /var/lib/infobip-exporter": "needs the service; tests/test_cli.py tries state without keys",
    "docker build": "needs Docker; tests/packaging/test_dockerfile.py reads the Dockerfile",
    "kubectl create": "needs a cluster; tests/packaging/test_kubernetes.py builds the overlay",
    "helm -n": "needs a cluster; tests/packaging/test_helm.py renders the chart",
    "infobip-exporter state backup": "tests/end_to_end/test_state.py takes backups",
    "sed -i": "changes the rules; the links are those of tests/alerting",
    "/opt/infobip-exporter/bin/python": "asks for a password",
    ".venv/bin/python -m infobip_exporter.sandbox": "tests/sandbox runs it",
}
"""How the others begin, and why they are not run."""


def test_each_block_of_commands_is_run_or_has_its_reason() -> None:
    found = [code for page in PAGES for code in blocks(page, "sh")]
    assert len(found) >= 10
    assert [code for code in found if not code.startswith((*RUN, *EXAMPLES))] == []
    for start in (*RUN, *EXAMPLES):
        assert any(code.startswith(start) for code in found), start


def test_completion_and_manual_page_are_installed_where_there_is_nothing_yet(tmp_path: Path) -> None:
    [code] = [code for code in blocks(DOCS / "operate.md", "sh") if code.startswith("install -D")]
    script = re.sub(r" /usr/", f" {tmp_path}/usr/", code)
    subprocess.run(["sh", "-eu", "-c", script], cwd=REPOSITORY, check=True, timeout=30)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(code.splitlines())


def test_the_wheel_is_named_where_make_leaves_it() -> None:
    named = [
        (name_of(page), word)
        for page in PAGES
        for code in blocks(page, "sh")
        for word in re.findall(r"\S*infobip_exporter-\S*\.whl", code)
    ]
    assert named
    assert all(word.startswith("dist/") for _, word in named), named
