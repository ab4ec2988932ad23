"""What `make` installs, and when it does so again. The programs it calls are stood in for by ones that tell of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY
from tests.packaging.manifests import built, needs

LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-go.txt")
GO = "tools/go"

# A Python that makes environments of itself, installs by telling, and brings the Go of the lock.
PYTHON = """#!/bin/sh
echo "python $*" >>"$TOLD"
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*"--target "*)
    target=${*#*--target }; target=${target%% *}
    mkdir -p "$target/go/bin"
    printf '#!/bin/sh\\necho "go $*" >>"$TOLD"\\ncase $5 in helm*) echo v3.18.4 ;; k8s*) echo v0.33.2 ;; esac\\n' >"$target/go/bin/go"
    chmod +x "$target/go/bin/go" ;;
esac
"""


class Tree:
    """A fresh clone, as far as `make` looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told = folder / "told"
        self._python = folder / "python-of-the-machine"
        self._python.write_text(PYTHON)
        self._python.chmod(0o755)
        shutil.copy(REPOSITORY / "Makefile", folder)
        (folder / GO).mkdir(parents=True)
        for name in (*LOCKS, f"{GO}/go.mod", f"{GO}/go.sum"):
            shutil.copy(REPOSITORY / name, folder / name)

    def make(self, target: str) -> list[str]:
        """What was called."""
        self._told.write_text("")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
        }
        subprocess.run(
            ["make", target, f"PYTHON={self._python}"],
            cwd=self.folder, env={**environment, "TOLD": str(self._told)}, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        return self._told.read_text().splitlines()

    def write_again(self, name: str) -> None:
        """The same contents, newer than everything."""
        path = self.folder / name
        text = path.read_text()
        path.unlink()
        path.write_text(text)
        os.utime(path, (4_000_000_000, 4_000_000_000))

    def change(self, name: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write("# newer\n")


def installed(called: list[str]) -> list[str]:
    """The locks that were installed."""
    return [lock for line in called for lock in re.findall(r"pip install .*-r (\S+)", line)]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize(("target", "lock"), [("demo", "requirements.txt"), ("test", "requirements-dev.txt")])
def test_a_fresh_clone_needs_one_target_alone(tree: Tree, target: str, lock: str) -> None:
    assert installed(tree.make(target)) == [lock]
    assert installed(tree.make(target)) == []


def test_the_environment_of_the_tests_is_the_one_of_the_demo_too(tree: Tree) -> None:
    tree.make("test")
    assert installed(tree.make("demo")) == []


@pytest.mark.parametrize("name", [*LOCKS, f"{GO}/go.mod", f"{GO}/go.sum"])
def test_a_lock_that_is_written_again_with_the_same_contents_installs_nothing(tree: Tree, name: str) -> None:
    tree.make("go-tools")
    tree.write_again(name)
    assert [*installed(tree.make("test")), *installed([*tree.make("demo"), *tree.make("go-tools")])] == []


@pytest.mark.parametrize(
    ("name", "demo", "test"),
    [
        ("requirements.txt", ["requirements.txt"], ["requirements-dev.txt"]),
        ("requirements-dev.txt", [], ["requirements-dev.txt"]),
        ("requirements-go.txt", [], []),
    ],
)
def test_a_changed_lock_makes_a_new_environment_for_what_depends_on_it(
    tree: Tree, name: str, demo: list[str], test: list[str]
) -> None:
    tree.make("test")
    tree.change(name)
    assert installed(tree.make("demo")) == demo
    assert installed(tree.make("test")) == test


def test_helm_stays_when_the_environment_is_made_anew(tree: Tree) -> None:
    tree.make("go-tools")
    tree.change("requirements-dev.txt")
    assert installed(tree.make("go-tools")) == ["requirements-dev.txt"]
    tree.change(f"{GO}/go.sum")
    assert installed(tree.make("go-tools")) == ["requirements-go.txt"]


def test_helm_is_told_its_version_and_kubernetes_as_go_has_them(tree: Tree) -> None:
    [build] = [line for line in tree.make("go-tools") if line.startswith("go build")]
    assert set(re.findall(r"-X (\S+)", build)) == {
        "helm.sh/helm/v3/internal/version.version=v3.18.4",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=33",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=33",
    }


@needs("helm")
def test_the_helm_that_was_built_knows_its_version() -> None:
    [locked] = re.findall(r"helm\.sh/helm/v3 (v\S+)", (REPOSITORY / GO / "go.mod").read_text())
    assert built("helm", "version", "--template={{.Version}}").stdout == locked
