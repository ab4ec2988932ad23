"""What a tab completes, asked of the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest

from infobip_exporter import cli
from infobip_exporter.config import rules
from tests.docs.pages import REPOSITORY
from tools.command_line import commands, flags

FOLDER = REPOSITORY / "packaging" / "completion"
COMMANDS = sorted(cli._COMMANDS)
FLAGS = sorted(["--replicas", *(f"--{flag}" for flag, _, _ in cli._FLAGS)])

needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")


def shell(*command: str, folder: Path) -> list[str]:
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return sorted(ran.stdout.splitlines())


def bash(*words: str, folder: Path) -> list[str]:
    """What bash offers for the last of `words`, which are as bash takes them apart: at each = too."""
    script = (
        f'source "{FOLDER}/infobip-exporter.bash"; compopt() {{ :; }}; COMP_WORDS=(infobip-exporter "$@"); '
        'COMP_CWORD=$#; _infobip_exporter; [ "${#COMPREPLY[@]}" = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return shell("bash", "--norc", "-c", script, "bash", *words, folder=folder)


def fish(line: str, folder: Path) -> list[str]:
    """What fish offers at the end of `line`, without its texts."""
    script = f'source "{FOLDER}/infobip-exporter.fish"; complete -C "infobip-exporter {line}"'
    found = shell("fish", "--no-config", "-c", script, folder=folder)
    return [each.split("\t")[0] for each in found]


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
        (["--web.listen-address", ""], []),
        (["check", "--config"], ["--config.file"]),
    ],
    ids=" ".join,
)
def test_bash(words: list[str], offered: list[str], folder: Path) -> None:
    assert bash(*words, folder=folder) == offered


def test_bash_offers_every_flag(folder: Path) -> None:
    assert bash("--", folder=folder) == sorted([*FLAGS, "--help", "--version"])


@needs_fish
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", COMMANDS),
        ("run ", []),
        ("--log.level=", sorted(f"--log.level={level}" for level in rules.LOG_LEVELS)),
        ("--log.format ", sorted(rules.LOG_FORMATS)),
        ("--config.file inf", ["infobip.yaml"]),
        ("--web.listen-address ", []),
        ("--", sorted([*FLAGS, "--help", "--version"])),
    ],
)
def test_fish(line: str, offered: list[str], folder: Path) -> None:
    # It writes --flag= where a value must follow.
    assert [each.removesuffix("=") for each in fish(line, folder)] == offered


@needs_zsh
def test_zsh_gives_arguments_that_it_understands(folder: Path) -> None:
    # The completion system needs a terminal: it is stood in for by a function that tells what it is given.
    script = f'_arguments() {{ print -rl -- "$@"; }}; source "{FOLDER}/_infobip-exporter"'
    given = shell("zsh", "-f", "-c", script, folder=folder)
    for flag in flags():
        for name in flag.names:
            (line,) = [
                each for each in given if each.removeprefix("(- *)").startswith((f"{name}[", f"{name}=["))
            ]
            if flag.words:
                assert line.endswith(f":({' '.join(flag.words)})")
            assert line.endswith(":_files") == flag.is_path
    (last,) = [each for each in given if each.startswith("1:command:((")]
    for command in commands():
        assert f"{command.name}\\:'" in last


def test_the_help_tells_of_each_command_once() -> None:
    assert sorted(command.name for command in commands()) == COMMANDS
