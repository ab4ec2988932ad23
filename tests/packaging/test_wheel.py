"""The wheel is the same bytes wherever it is built, holds what it must, and installs the command."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from infobip_exporter import __version__
from tests.alerting.servers import HTTP, accepted, free_address, process, ready, until
from tests.docs.pages import REPOSITORY

SOURCES = ("infobip_exporter", "infobip_sandbox", "pyproject.toml", "README.md", "LICENSE")


def build(folder: Path, umask: int, target: str = "wheel") -> Path:
    """A wheel, or an sdist, from a copy of the sources in `folder`, as the Dockerfile copies them; nothing is downloaded."""
    folder.mkdir()
    before = os.umask(umask)
    try:
        for name in SOURCES:
            source, to = REPOSITORY / name, folder / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, to, ignore=ignored, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(source, to)
    finally:
        os.umask(before)
    return built(folder, target)


def built(folder: Path, target: str) -> Path:
    """What hatchling makes of the sources in `folder`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    [package] = (folder / "dist").iterdir()
    return package


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return build(folder / "one", umask=0o022), build(folder / "two with a longer name", umask=0o077)


def test_it_is_the_same_bytes_each_time(wheels: tuple[Path, Path]) -> None:
    one, two = wheels
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_it_holds_the_package_whole_and_nothing_else(wheels: tuple[Path, Path]) -> None:
    packed = {name for name in zipfile.ZipFile(wheels[0]).namelist() if ".dist-info/" not in name}
    files = [
        path for name in ("infobip_exporter", "infobip_sandbox") for path in (REPOSITORY / name).rglob("*")
    ]
    assert packed == {
        str(path.relative_to(REPOSITORY))
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "infobip_exporter/py.typed" in packed


def test_the_sdist_holds_what_the_wheel_is_built_of_and_no_tests(
    wheels: tuple[Path, Path], tmp_path: Path
) -> None:
    sdist = build(tmp_path / "sources", umask=0o022, target="sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert not (unpacked / "tests").exists()
    assert built(unpacked, "wheel").read_bytes() == wheels[0].read_bytes()


def test_it_installs_the_command(wheels: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(wheels[0]) as wheel:
        [name] = [each for each in wheel.namelist() if each.endswith("entry_points.txt")]
        scripts = configparser.ConfigParser()
        scripts.read_string(wheel.read(name).decode())
    assert dict(scripts["console_scripts"]) == {"infobip-exporter": "infobip_exporter.__main__:main"}


@pytest.fixture(scope="module")
def installed(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The command as pip installs it, and where it finds the package, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--prefix", folder)
    accepted(*pip, wheels[0])
    [package] = folder.rglob("infobip_exporter/__init__.py")
    return folder / "bin" / "infobip-exporter", package.parents[1]


def test_the_installed_command_tells_its_version_and_has_all_that_its_demo_needs(
    installed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, package = installed
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.chdir(tmp_path)
    assert accepted(command, "--version").startswith(f"infobip-exporter {__version__} (")
    address = free_address()
    log = tmp_path / "demo.log"
    with process([str(command), "demo", f"--web.listen-address={address}"], log):
        until(lambda: ready(f"http://{address}/-/ready"), 30.0)
        up = 'infobip_up{account="demo",channel="messenger"} 1'
        until(lambda: up in HTTP.get(f"http://{address}/metrics").text, 30.0)
        status = HTTP.get(f"http://{address}/")
    assert (status.status_code, "<svg" in status.text) == (200, True)
    assert "the rules are in the source tree only" in log.read_text() or "not found here" in log.read_text()
