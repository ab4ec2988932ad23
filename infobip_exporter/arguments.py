"""The arguments of the command: commands and flags as in Prometheus' own programs."""

import argparse
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from infobip_exporter import __version__
from infobip_exporter.config import addresses, rules
from infobip_exporter.config.problems import Unshown, shown

PROGRAM = "infobip-exporter"
UNUSABLE = 2
"""The exit code when flags, configuration, state or port can't be used."""

_LOGS = ("log.level", "log.format")
FLAGS_OF = {
    "run": (
        "config.file", "web.listen-address", "web.config.file", "web.enable-lifecycle", "state.url", *_LOGS,
    ),
    "check": ("config.file", "web.config.file", "state.url", *_LOGS),
    "demo": ("web.listen-address", "replicas", *_LOGS),
    "state": ("config.file", "state.url", "state.format"),
}  # fmt: skip
"""The flags of each command. Those of `run` may also stand before a command, or without one."""


def parser() -> argparse.ArgumentParser:
    """What reads the arguments of one process: into `command` and what is given with it."""
    flags = _flags()
    root = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [run | check | demo | state] [flags]",
        description="Turns Infobip's message logs into exact Prometheus metrics, at :10470/metrics.",
        parents=[flags[flag] for flag in FLAGS_OF["run"]],
    )
    version = f"{PROGRAM} {__version__} (Python {platform.python_version()})"
    root.add_argument("--version", action="version", version=version, help="show the version and exit")
    root.set_defaults(command="run")

    def add(to: Any, name: str, command: str, text: str, words: str = "") -> argparse.ArgumentParser:
        parents, usage = [flags[flag] for flag in FLAGS_OF[command]], f"%(prog)s {words}[flags]"
        added: argparse.ArgumentParser = to.add_parser(name, help=text, usage=usage, parents=parents)
        added.set_defaults(command=command)
        return added

    commands = root.add_subparsers(title="commands", metavar="COMMAND", prog=PROGRAM)
    add(commands, "run", "run", "poll and serve metrics until stopped; the default")
    add(commands, "check", "check", "ask one small question to each account and channel")
    add(commands, "demo", "demo", "an exporter on a simulated Infobip")
    state = add(commands, "state", "state", "show what was counted", "[check | backup FILE | copy URL] ")
    actions = state.add_subparsers(
        title="commands", metavar="COMMAND", prog=f"{PROGRAM} state", dest="action"
    )
    add(actions, "check", "state", "say whether the state is sound")
    add(actions, "backup", "state", "copy a state in SQLite into FILE", "FILE ").add_argument(
        "target", metavar="FILE", action=_Path, help="must not be there yet"
    )
    add(actions, "copy", "state", "copy the state into another database", "URL ").add_argument(
        "target", metavar="URL", type=_checked(rules.state_url), help="as state.url"
    )
    return root


def _flags() -> dict[str, argparse.ArgumentParser]:
    """By name, parsers of a single flag, of which those of the commands are put together."""
    parsers: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, text: str, **options: Any) -> None:
        # The dots in their names are Prometheus' own. Without a default only what is given is kept.
        parsers[name] = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        parsers[name].add_argument(f"--{name}", dest=name, help=text, **({"action": _Once} | options))

    def add_choice(name: str, text: str, metavar: str, choices: Sequence[str]) -> None:
        add(name, text, metavar=metavar, choices=choices, type=_checked(rules.one_of(choices)))

    file = {"metavar": "PATH", "action": _Path}
    add("config.file", "the configuration (default config.yaml)", **file, type=_checked(_file))
    add(
        "web.listen-address", "host:port, :port, [v6]:port, unix:/path", metavar="ADDRESS",
        action=_Several, type=_checked(addresses.listen_address),
    )  # fmt: skip
    add("web.config.file", "TLS and basic auth (exporter-toolkit)", **file, type=Path)
    add("web.enable-lifecycle", "reload the configuration at POST /-/reload", action="store_true")
    add("state.url", "the state, over the configuration's", metavar="URL", type=_checked(rules.state_url))
    add_choice("state.format", "text (default) or json", "STYLE", ("text", "json"))
    add_choice("log.level", "debug, info (default), warn or error", "LEVEL", rules.LOG_LEVELS)
    add_choice("log.format", "logfmt (default), json or console", "FORMAT", rules.LOG_FORMATS)
    add("replicas", "two exporters on one PostgreSQL, one is killed", action="store_true")
    return parsers


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=32)
        super().__init__(**options, allow_abbrev=False, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Once(argparse.Action):
    """Keeps a value that can't be given twice, not even before and behind the command: both share this action."""

    given = False

    def __call__(self, _parser: Any, namespace: argparse.Namespace, value: Any, _name: Any = None) -> None:
        if self.given:
            raise argparse.ArgumentError(self, "is given twice")
        self.given = True
        setattr(namespace, self.dest, value)


class _Path(_Once):
    complete = "file"
    """What shtab has the shells complete."""


class _Several(argparse.Action):
    """Keeps several values, each given once."""

    values: tuple[str, ...] = ()

    def __call__(self, _parser: Any, namespace: argparse.Namespace, value: Any, _name: Any = None) -> None:
        if value in self.values:
            raise argparse.ArgumentError(self, f"is given twice, got {shown(value)}")
        self.values += (value,)
        setattr(namespace, self.dest, self.values)


def _file(text: str) -> str:
    if not text:  # as of --config.file=$UNSET; as a path it would be the working directory
        raise Unshown("must name a file")
    return text


def _checked(rule: Callable[[str], object]) -> Callable[[str], object]:
    """`rule` with its errors as argparse passes them on."""

    def value(text: str) -> object:
        try:
            return rule(text)
        except ValueError as error:
            got = "" if isinstance(error, Unshown) else f", got {shown(text)}"
            raise argparse.ArgumentTypeError(f"{error}{got}") from None

    return value
