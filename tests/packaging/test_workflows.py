"""What GitHub runs, and what it asks of whoever opens an issue."""

import re

import yaml

from infobip_exporter.metrics.catalog import FAMILIES
from tests.docs.pages import REPOSITORY
from tests.packaging.manifests import built, needs

WORKFLOWS = REPOSITORY / ".github/workflows"


@needs("actionlint")
def test_the_workflows_are_sound() -> None:
    checked = built("actionlint", "-no-color", *sorted(WORKFLOWS.glob("*.yml")))
    assert (checked.returncode, checked.stdout) == (0, "")


def test_nothing_is_published_that_was_not_tested() -> None:
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"

    def tested(name: str) -> bool:
        needs = jobs[name].get("needs", [])
        before = [needs] if isinstance(needs, str) else needs
        return "test" in before or any(map(tested, before))

    assert [name for name in jobs if name != "test" and not tested(name)] == []


def test_the_form_for_a_wrong_count_names_metrics_that_exist() -> None:
    form = (REPOSITORY / ".github/ISSUE_TEMPLATE/wrong-count.yml").read_text()
    named = set(re.findall(r"`(infobip_[a-z_]+)`", form))
    assert named
    assert named <= {family.name for family in FAMILIES}
