"""The manual page is one that man shows without complaint, and it tells of everything."""

import re
import shutil
import subprocess

import pytest

from infobip_exporter import cli
from infobip_exporter.signals import TERMINATED
from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "packaging" / "man" / "infobip-exporter.1"

needs_mandoc = pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")


def mandoc(*arguments: str) -> str:
    ran = subprocess.run(
        ["mandoc", *arguments, PAGE], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.stderr == ""
    return ran.stdout


@needs_mandoc
def test_mandoc_finds_no_mistake() -> None:
    # A date would change with each day that the page is written: the version says how old it is.
    complaints = [
        line for line in mandoc("-T", "lint", "-W", "warning").splitlines() if "missing date" not in line
    ]
    assert complaints == []


@needs_mandoc
def test_the_page_shows_each_command_flag_and_exit_code() -> None:
    # Bold letters are struck over themselves.
    shown = re.sub(".\b", "", mandoc("-T", "ascii", "-O", "width=200"))
    sections = dict(re.findall(r"^([A-Z][A-Z ]+)\n(.*?)(?=^\S)", shown, re.MULTILINE | re.DOTALL))
    for flag, value, told in cli._FLAGS:
        given = f"--{flag}={value}" if value else f"--{flag}"
        assert re.search(rf"^ +{given}\s+{re.escape(told)}$", sections["OPTIONS"], re.MULTILINE)
    assert entries(sections["COMMANDS"]) == set(cli._COMMANDS)
    codes = {0, cli.FAILED, cli.UNUSABLE, cli.INTERRUPTED, TERMINATED}
    assert entries(sections["EXIT STATUS"]) == {str(code) for code in codes}


def entries(section: str) -> set[str]:
    """The words that the entries of a section begin with."""
    return {line.split()[0] for line in section.splitlines() if re.match(r" {7}\S", line)}
