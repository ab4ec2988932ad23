"""`make audit` asks about every locked version, and says plainly what it found or that it could not ask."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.alerting.servers import Answering, answered_by
from tests.docs.pages import REPOSITORY
from tools.audit import audit, locks
from tools.lock import runtime

LOCK = [REPOSITORY / "requirements.txt"]
WEAKNESS = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "Answers whoever asks.",
    "affected": [
        {
            "package": {"name": "h11", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


@contextmanager
def advisories(weak: str | None = None, status: int = 200) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A service of OSV's kind that knows of one weakness: its URL, and the names and versions it was asked about."""
    asked: list[tuple[str, str]] = []

    class Advising(Answering):
        def respond(self) -> None:
            question = json.loads(self.body())
            name = question["package"]["name"]
            asked.append((name, question["version"]))
            self.answer(status, json.dumps({"vulns": [WEAKNESS]} if name == weak else {}).encode())

    with answered_by(Advising) as url:
        yield f"{url}/v1/query", asked


def flags(url: str, folder: Path) -> list[str]:
    return ["--vulnerability-service=osv", f"--osv-url={url}", f"--cache-dir={folder}", "--timeout=5"]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_every_locked_version_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with advisories() as (url, asked):
        assert audit(LOCK, flags(url, tmp_path)) == 0
    # Those for other machines than this one are not installed here, and pip-audit leaves them out.
    assert set(asked) <= {(each.name, each.version) for each in runtime()}
    assert {"httpx", "h11", "bcrypt", "pyyaml"} <= {name for name, _ in asked}
    assert capsys.readouterr().out == f"audit: {len(asked)} locked versions, no known weaknesses\n"


def test_a_known_weakness_is_told_with_the_version_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories(weak="h11") as (url, asked):
        assert audit(LOCK, flags(url, tmp_path)) == 1
    [version] = [version for name, version in asked if name == "h11"]
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"h11 {version}: PYSEC-2026-1, CVE-2026-1; fixed in 99.0: Answers whoever asks."
    assert last.endswith("locked versions, 1 known weakness")


@pytest.mark.parametrize("status", [404, 503])
def test_a_service_that_does_not_answer_is_no_success_and_no_weakness_either(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories(status=status) as (url, _):
        assert audit(LOCK, flags(url, tmp_path)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "could not be asked, so nothing is known about what is locked" in told.err


def test_nobody_there_to_be_asked_is_told_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories() as (url, _):
        pass
    assert audit(LOCK, flags(url, tmp_path)) == 2
    told = capsys.readouterr().err
    assert "could not be asked" in told
    assert "Connection refused" in told
    assert "Traceback" not in told


def test_it_looks_at_every_lock() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert {path.name for path in locks()} == {
        word for line in makefile.splitlines() if "$(COMPILE) " in line for word in line.split("-o ")[1:]
    }
