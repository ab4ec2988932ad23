"""The command line as data: its commands and flags, taken from the parser that serves it."""

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

from infobip_exporter import cli
from infobip_exporter.config import rules

PROGRAM = "infobip-exporter"

_WORDS: dict[str, Sequence[str]] = {
    "LEVEL": rules.LOG_LEVELS,
    "FORMAT": rules.LOG_FORMATS,
    "STYLE": cli.STYLES,
}
"""What a flag's value may be, by what the help calls it."""


class Word(NamedTuple):
    """A word that may stand without a flag: a command."""

    name: str
    text: str


class Flag(NamedTuple):
    """`value` is what the help calls its value, None without one; `words` are all it may be, empty if it is free."""

    names: tuple[str, ...]
    text: str
    value: str | None
    words: tuple[str, ...]

    @property
    def ends(self) -> bool:
        """Whether the command does nothing but this."""
        return bool({"--help", "--version"} & set(self.names))

    @property
    def is_path(self) -> bool:
        return self.value == "PATH"


def usage() -> str:
    """How the command is used, without its name."""
    return _parser().format_usage().removeprefix(f"usage: {PROGRAM} ").strip()


def description() -> str:
    """What the program does, in a sentence."""
    return (_parser().description or "").split("\n\n", 1)[0]


def examples() -> list[tuple[str, str]]:
    """Command lines, and what is to be said of each (may be empty)."""
    return list(cli.EXAMPLES)


def commands() -> list[Word]:
    """The commands in the help's order, with its texts. ValueError if the help leaves one out or tells of another."""
    told = re.findall(
        r"^  ([a-z]+(?: [a-z]+)*?)(?: \(default\))? {2,}(.+)$", _parser().description or "", re.MULTILINE
    )
    words = [Word(*each) for each in told]
    [allowed] = [action.choices for action in _actions() if not action.option_strings]
    if {word.name.split()[0] for word in words} != set(allowed or ()):
        raise ValueError(
            f"the help tells of {[word.name for word in words]}, the parser of {list(allowed or ())}"
        )
    return words


def flags() -> list[Flag]:
    """The flags in the help's order."""
    return [
        Flag(
            tuple(action.option_strings),
            (action.help or "").replace(argparse.SUPPRESS, _UNTOLD.get(action.dest, "")),
            action.metavar if isinstance(action.metavar, str) else None,
            tuple(action.choices or _WORDS.get(str(action.metavar), ())),
        )
        for action in _actions()
        if action.option_strings
    ]


_UNTOLD = {"replicas": "demo: two exporters on one PostgreSQL, one of them is killed"}
"""What is said here of flags for which the help has no room."""


def _actions() -> list[argparse.Action]:
    return _parser()._actions


def _parser() -> argparse.ArgumentParser:
    return cli._parser()
