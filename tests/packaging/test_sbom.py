"""The bill of materials names what is locked, and is the same bytes each time."""

import json
from typing import Any

import pytest
from packaging.requirements import Requirement

from infobip_exporter import __version__
from tests.docs.pages import REPOSITORY
from tools.lock import runtime
from tools.sbom import sbom

LOCK = REPOSITORY / "requirements.txt"
ROOT = f"pkg:pypi/infobip-exporter@{__version__}"


@pytest.fixture(scope="module")
def bill() -> Any:
    return json.loads(sbom())


def test_it_names_each_line_of_the_lock_with_a_licence(bill: Any) -> None:
    lines = [line.split("\\")[0] for line in LOCK.read_text().splitlines() if "==" in line]
    wanted = {(each.name, str(each.specifier).removeprefix("==")) for each in map(Requirement, lines)}
    assert {(each["name"], each["version"]) for each in bill["components"]} == wanted
    assert all(each["licenses"] for each in bill["components"])
    assert bill["metadata"]["component"]["bom-ref"] == ROOT


def test_it_has_the_sum_of_every_file_that_may_be_installed(bill: Any) -> None:
    sums = {
        each["content"]
        for component in bill["components"]
        for reference in component["externalReferences"]
        for each in reference["hashes"]
    }
    assert {f"--hash=sha256:{each}" for each in sums} == {
        word for word in LOCK.read_text().split() if word.startswith("--hash")
    }


def test_it_tells_what_is_needed_by_what(bill: Any) -> None:
    needs = {each["ref"]: set(each.get("dependsOn", ())) for each in bill["dependencies"]}
    by_name = {each.name: f"pkg:pypi/{each.name}@{each.version}" for each in runtime()}
    assert by_name["httpx"] in needs[ROOT]
    assert by_name["httpcore"] in needs[by_name["httpx"]]
    assert needs[by_name["h11"]] == set()
    reached, todo = set(), [ROOT]
    while todo:
        each = todo.pop()
        reached.add(each)
        todo += needs[each] - reached
    assert reached == set(needs) == {ROOT, *by_name.values()}


def test_it_is_the_same_each_time_and_bears_the_date_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert sbom() == sbom()
    assert json.loads(sbom())["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
