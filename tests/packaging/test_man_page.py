"""The manual page is one that man shows without complaint, and it tells of everything."""

import re
import subprocess

from infobip_exporter import cli
from infobip_exporter.arguments import FLAGS_OF, UNUSABLE
from infobip_exporter.signals import TERMINATED
from tests.alerting.servers import needs
from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "packaging" / "man" / "infobip-exporter.1"


def mandoc(*arguments: str) -> str:
    ran = subprocess.run(
        ["mandoc", *arguments, PAGE], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.stderr == ""
    return ran.stdout


@needs("mandoc")
def test_mandoc_finds_no_mistake() -> None:
    # A date would change with each day that the page is written: the version says how old it is.
    complaints = [
        line for line in mandoc("-T", "lint", "-W", "warning").splitlines() if "missing date" not in line
    ]
    assert complaints == []


@needs("mandoc")
def test_the_page_shows_each_command_flag_and_exit_code() -> None:
    # Bold letters are struck over themselves, the others are underlined.
    shown = re.sub(".\b", "", mandoc("-T", "ascii", "-O", "width=200"))
    sections = dict(re.findall(r"^([A-Z][A-Z ]+)\n(.*?)(?=^\S)", shown, re.MULTILINE | re.DOTALL))
    commands = dict(
        re.findall(
            r"^   infobip-exporter ([a-z ]+)\n(.*?)(?=^ {3}\S|\Z)",
            sections["COMMANDS"],
            re.MULTILINE | re.DOTALL,
        )
    )
    assert set(commands) == {*FLAGS_OF, "state check", "state backup", "state copy"}
    for command, text in [*commands.items(), ("run", sections["OPTIONS"])]:
        assert set(re.findall(r"^ +--(\S+)", text, re.MULTILINE)) - {"version"} == set(
            FLAGS_OF[command.split()[0]]
        )
    codes = {0, cli.FAILED, UNUSABLE, cli.INTERRUPTED, TERMINATED}
    assert set(re.findall(r"^ {7}(\d+)", sections["EXIT STATUS"], re.MULTILINE)) == {
        str(code) for code in codes
    }
