"""What is written from code and locks is as they say now."""

import pytest

from tests.docs.pages import DOCS, REPOSITORY, rows
from tools.__main__ import KINDS
from tools.lock import runtime


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "licences"])
def test_generated_files_are_those_that_would_be_written_now(kind: str) -> None:
    for path, text in KINDS[kind]().items():
        assert (REPOSITORY / path).read_text() == text, f"{path} is stale: run make generated"


def test_nothing_else_lies_among_the_generated_files() -> None:
    paths = {path for kind in KINDS.values() for path in kind()}
    for folder in ("packaging/completion", "packaging/man"):
        assert {str(each.relative_to(REPOSITORY)) for each in (REPOSITORY / folder).iterdir()} <= paths


def test_the_page_of_licences_has_each_locked_package_with_its_version() -> None:
    # Licences are stated by what is installed, and not each Python has each package: names and versions are compared.
    told = [(name, version) for name, version, _ in rows((DOCS / "licences.md").read_text())[1:]]
    assert told == [(each.name, each.version) for each in runtime()], "stale: run make licences"


def test_every_dependency_may_be_passed_on_with_the_exporter() -> None:
    permissive = {
        "MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0", "MPL-2.0", "0BSD", "Zlib", "CC0-1.0",
        "LGPL-3.0-only",  # of psycopg, a library that is installed beside the exporter and not changed
    }  # fmt: skip
    for name, _, licence in rows((DOCS / "licences.md").read_text())[1:]:
        assert set(licence.replace(" OR ", " AND ").split(" AND ")) <= permissive, name
