"""`make audit` asks about every locked version, and says plainly what it found or that it could not ask."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class Advisories:
    """A service of OSV's kind that knows of one weakness. `asked` are the names and versions it was asked about."""

    def __init__(self, weak: str | None, status: int) -> None:
        self.weak = weak
        self.status = status
        self.asked: list[tuple[str, str]] = []
        self.url = ""

    def answer(self, question: Any) -> Any:
        name = question["package"]["name"]
        self.asked.append((name, question["version"]))
        return {"vulns": [WEAKNESS]} if name == self.weak else {}


@contextmanager
def advisories(weak: str | None = None, status: int = 200) -> Iterator[Advisories]:
    service = Advisories(weak, status)

    class Advising(Answering):
        def respond(self) -> None:
            self.answer(service.status, json.dumps(service.answer(json.loads(self.body()))).encode())

    with answered_by(Advising) as url:
        service.url = f"{url}/v1/query"
        yield service


def flags(url: str, folder: Path) -> list[str]:
    return ["--vulnerability-service=osv", f"--osv-url={url}", f"--cache-dir={folder}", "--timeout=5"]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_every_locked_version_is_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with advisories() as service:
        assert audit(LOCK, flags(service.url, tmp_path)) == 0
    # Those for other machines than this one are not installed here, and pip-audit leaves them out.
    assert set(service.asked) <= {(each.name, each.version) for each in runtime()}
    assert {"httpx", "h11", "bcrypt", "pyyaml"} <= {name for name, _ in service.asked}
    assert capsys.readouterr().out == f"audit: {len(service.asked)} locked versions, no known weaknesses\n"


def test_a_known_weakness_is_told_with_the_version_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories(weak="h11") as service:
        assert audit(LOCK, flags(service.url, tmp_path)) == 1
    [version] = [version for name, version in service.asked if name == "h11"]
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"h11 {version}: PYSEC-2026-1, CVE-2026-1; fixed in 99.0: Answers whoever asks."
    assert last.endswith("locked versions, 1 known weakness")


@pytest.mark.parametrize("status", [404, 503])
def test_a_service_that_does_not_answer_is_no_success_and_no_weakness_either(
    status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories(status=status) as service:
        assert audit(LOCK, flags(service.url, tmp_path)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "could not be asked, so nothing is known about what is locked" in told.err


def test_nobody_there_to_be_asked_is_told_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with advisories() as service:
        pass
    assert audit(LOCK, flags(service.url, tmp_path)) == 2
    told = capsys.readouterr().err
    assert "could not be asked" in told
    assert "Connection refused" in told
    assert "Traceback" not in told


def test_it_looks_at_every_lock() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert {path.name for path in locks()} == {
        word for line in makefile.splitlines() if "$(COMPILE) " in line for word in line.split("-o ")[1:]
    }
