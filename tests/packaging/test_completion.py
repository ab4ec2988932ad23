"""What a tab completes, asked of the shells themselves."""

import re
import subprocess
from collections.abc import Callable
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


def bash(line: str, folder: Path) -> list[str]:
    """What bash offers for the last word of `line`, whose words are as bash takes them apart: at each = too."""
    script = (
        f'source "{FOLDER}/infobip-exporter.bash"; compopt() {{ :; }}; COMP_WORDS=(infobip-exporter "$@"); '
        'COMP_CWORD=$#; _infobip_exporter_without_equals; [ "${#COMPREPLY[@]}" = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return shell("bash", "--norc", "-c", script, "bash", *line.split(" "), folder=folder)


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
    "offers", [bash, pytest.param(fish, marks=needs("fish")), pytest.param(zsh, marks=needs("zsh"))]
)
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", COMMANDS),
        ("ch", ["check"]),
        ("--log.format ", sorted(rules.LOG_FORMATS)),
        ("--log.format json ", COMMANDS),
        ("check --config.file inf", ["infobip.yaml"]),
        ("--web.listen-address ", []),
        ("state ", ["backup", "check", "copy"]),
        ("state backup inf", ["infobip.yaml"]),
        ("--", flags("run", "--version")),
        ("demo --", flags("demo")),
        ("state check --", flags("state")),
    ],
)
def test_each_shell(
    offers: Callable[[str, Path], list[str]], line: str, offered: list[str], folder: Path
) -> None:
    # Fish writes --flag= where a value must follow.
    assert [each.removesuffix("=") for each in offers(line, folder)] == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run ", []),
        ("state copy ", []),
        ("--log.level = de", ["debug"]),
        ("--log.level =", sorted(rules.LOG_LEVELS)),
        ("--config.file = inf", ["infobip.yaml"]),
        ("--config.file = x --log.level = de", ["debug"]),
        ("state --state.format = json ba", ["backup"]),
    ],
)
def test_bash_takes_a_flag_apart_at_its_equals_sign_and_offers_nothing_where_nothing_may_follow(
    line: str, offered: list[str], folder: Path
) -> None:
    assert bash(line, folder) == offered


@needs("fish")
def test_fish_completes_a_value_behind_an_equals_sign(folder: Path) -> None:
    assert fish("run ", folder) == []
    assert fish("--log.level=", folder) == sorted(f"--log.level={level}" for level in rules.LOG_LEVELS)
    assert fish("--config.file=inf", folder) == ["--config.file=infobip.yaml"]


@needs("zsh")
def test_zsh_completes_a_value_behind_an_equals_sign(folder: Path) -> None:
    assert zsh("run --log.level=", folder) == sorted(rules.LOG_LEVELS)
    assert zsh("--config.file=inf", folder) == ["infobip.yaml"]
