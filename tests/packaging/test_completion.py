"""What a tab completes, asked of the shells themselves."""

import re
import subprocess
from pathlib import Path

import pytest

from infobip_exporter.arguments import FLAGS_OF
from infobip_exporter.config import rules
from tests.alerting.servers import needs
from tests.docs.pages import REPOSITORY

FOLDER = REPOSITORY / "packaging" / "completion"
COMMANDS = sorted(FLAGS_OF)


def flags(command: str, *others: str) -> list[str]:
    """The flags of `command`, and what else is there at its place."""
    return sorted([*(f"--{flag}" for flag in FLAGS_OF[command]), "--help", *others])


def shell(*command: str, folder: Path) -> list[str]:
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return sorted(ran.stdout.splitlines())


def bash(*words: str, folder: Path) -> list[str]:
    """What bash offers for the last of `words`, which are as bash takes them apart: at each = too."""
    script = (
        f'source "{FOLDER}/infobip-exporter.bash"; compopt() {{ :; }}; COMP_WORDS=(infobip-exporter "$@"); '
        'COMP_CWORD=$#; _infobip_exporter_without_equals; [ "${#COMPREPLY[@]}" = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return shell("bash", "--norc", "-c", script, "bash", *words, folder=folder)


def fish(line: str, folder: Path) -> list[str]:
    """What fish offers at the end of `line`, without its texts."""
    script = f'source "{FOLDER}/infobip-exporter.fish"; complete -C "infobip-exporter {line}"'
    found = shell("fish", "--no-config", "-c", script, folder=folder)
    return [each.split("\t")[0] for each in found]


ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; fpath=($COMPLETION $fpath); autoload -Uz compinit; compinit -D -u; autoload +X _main_complete
compadd() { local found=(); builtin compadd -O found "$@"; print -rl "+"${^found} >/dev/tty; builtin compadd "$@" }
functions[complete]=$functions[_main_complete]
_main_complete() { complete "$@"; print "is""done" >/dev/tty }
print "is""ready"'
zpty -r -m shell answer '*isready*'
zpty -w -n shell "infobip-exporter $1"$'\t'
zpty -r -m shell answer '*isdone*'
print -rn -- "$answer"
"""
"""An interactive zsh that prints each candidate behind a +."""


def zsh(line: str, folder: Path) -> list[str]:
    """What zsh offers at the end of `line`."""
    told = shell("env", f"COMPLETION={FOLDER}", "zsh", "-f", "-c", ZSH, "zsh", line, folder=folder)
    return sorted(set(re.findall(r"\+([\w.-]+)", "\n".join(told))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a configuration in it."""
    (tmp_path / "infobip.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], COMMANDS),
        (["ch"], ["check"]),
        (["run", ""], []),
        (["--log.level", "de"], ["debug"]),
        (["--log.level", "=", "de"], ["debug"]),
        (["--log.level", "="], sorted(rules.LOG_LEVELS)),
        (["--log.format", ""], sorted(rules.LOG_FORMATS)),
        (["--log.format", "json", ""], COMMANDS),
        (["--config.file", ""], ["infobip.yaml"]),
        (["--config.file", "=", "inf"], ["infobip.yaml"]),
        (["--config.file", "=", "x", "--log.level", "=", "de"], ["debug"]),
        (["--web.listen-address", ""], []),
        (["check", "--config"], ["--config.file"]),
        (["state", ""], ["backup", "check", "copy"]),
        (["state", "--state.format", "=", "json", "ba"], ["backup"]),
        (["state", "backup", "inf"], ["infobip.yaml"]),
        (["state", "copy", ""], []),
        (["--"], flags("run", "--version")),
        (["demo", "--"], flags("demo")),
        (["state", "check", "--"], flags("state")),
    ],
    ids=" ".join,
)
def test_bash(words: list[str], offered: list[str], folder: Path) -> None:
    assert bash(*words, folder=folder) == offered


@needs("fish")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", COMMANDS),
        ("run ", []),
        ("--log.level=", sorted(f"--log.level={level}" for level in rules.LOG_LEVELS)),
        ("--log.format ", sorted(rules.LOG_FORMATS)),
        ("--config.file inf", ["infobip.yaml"]),
        ("--config.file=inf", ["--config.file=infobip.yaml"]),
        ("--web.listen-address ", []),
        ("state ", ["backup", "check", "copy"]),
        ("state backup inf", ["infobip.yaml"]),
        ("--", flags("run", "--version")),
        ("demo --", flags("demo")),
    ],
)
def test_fish(line: str, offered: list[str], folder: Path) -> None:
    # It writes --flag= where a value must follow.
    assert [each.removesuffix("=") for each in fish(line, folder)] == offered


@needs("zsh")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", COMMANDS),
        ("ch", ["check"]),
        ("check --config.file ", ["infobip.yaml"]),
        ("--config.file=inf", ["infobip.yaml"]),
        ("run --log.level=", sorted(rules.LOG_LEVELS)),
        ("--log.format ", sorted(rules.LOG_FORMATS)),
        ("state ", ["backup", "check", "copy"]),
        ("state backup ", ["infobip.yaml"]),
        ("demo --", flags("demo")),
    ],
)
def test_zsh(line: str, offered: list[str], folder: Path) -> None:
    assert zsh(line, folder) == offered
