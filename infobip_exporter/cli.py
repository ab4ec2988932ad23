"""The command line: flags and commands as in Prometheus' own programs."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config import rules
from infobip_exporter.config.load import load_config, warnings
from infobip_exporter.config.problems import shown
from infobip_exporter.config.schema import Config, Log
from infobip_exporter.errors import ConfigError, ExporterError, LedgerError, ListenError

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
"""Exit codes: something did not work; flags, config, state or port can't be used; Ctrl-C before or after the work."""

_PROGRAM = "infobip-exporter"
_EXAMPLES = f"""\
examples:
  {_PROGRAM} demo                                     a simulated Infobip; needs no account
  {_PROGRAM} check --config.file=/etc/infobip.yaml    does each key and host work?
  {_PROGRAM} --log.format=json                        run with config.yaml of this folder
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        # The flags have dots in their names, as Prometheus' do.
        flags = {name: value for name, value in vars(arguments).items() if value is not None}
        code = _COMMANDS[flags.pop("command")](flags)
        sys.stdout.flush()
        return code  # noqa: TRY300 - the flush belongs to the try, a broken pipe shows there
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else UNUSABLE
    except ExporterError as error:
        print(error, file=sys.stderr)
        return UNUSABLE if isinstance(error, ConfigError | LedgerError | ListenError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{_PROGRAM}: {message}; see {_PROGRAM} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        usage="%(prog)s [run | check | demo] [flags]",
        description="Turns Infobip's message logs into exact Prometheus metrics.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=list(_COMMANDS),
        default="run",
        metavar="command",
        help="run (default): poll and serve metrics until stopped; check: try each account and channel once; "
        "demo: the exporter on a simulated Infobip with lively traffic",
    )
    flags = parser.add_argument_group("flags (each overrides the configuration)")
    flags.add_argument("--config.file", metavar="PATH", help="the configuration (default config.yaml)")
    flags.add_argument(
        "--web.listen-address", metavar="ADDRESS", help="host:port or :port (default 0.0.0.0:10470)"
    )
    flags.add_argument(
        "--web.config.file", metavar="PATH", help="TLS and basic auth, the exporter-toolkit's format"
    )
    flags.add_argument("--log.level", metavar="LEVEL", help="debug, info (default), warn or error")
    flags.add_argument("--log.format", metavar="FORMAT", help="logfmt (default), json or console")
    version = f"{_PROGRAM} {__version__} (Python {platform.python_version()})"
    flags.add_argument("--version", action="version", version=version, help="show the version and exit")
    flags.add_argument("--help", "-h", action="help", help="show this and exit")
    return parser


# The commands import what they need themselves: `--help` and a wrong config answer at once.


def _run(flags: Mapping[str, str]) -> int:
    config = _config(flags)
    from infobip_exporter import service  # noqa: PLC0415

    _configure_logs(config)
    for warning in warnings(config):
        structlog.get_logger().warning(warning)
    return service.run(config)


def _check(flags: Mapping[str, str]) -> int:
    config = _config(flags)
    from infobip_exporter import check  # noqa: PLC0415

    _configure_logs(config)
    for warning in warnings(config):
        print(f"warn  {warning}")
    return check.check(config)


def _demo(flags: Mapping[str, str]) -> int:
    unfit = [
        f"--{flag}: demo takes no configuration"
        for flag in flags
        if flag in {"config.file", "web.config.file"}
    ]
    given = _checked(flags, unfit)
    log = replace(Log(), **given["log"])
    from infobip_exporter import demo  # noqa: PLC0415

    logs.configure(log)
    return demo.demo(given["web"].get("listen_address"), log)


_COMMANDS: dict[str, Callable[[Mapping[str, str]], int]] = {"run": _run, "check": _check, "demo": _demo}

_RULES: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "web.listen-address": ("web", "listen_address", rules.listen_address),
    "web.config.file": ("web", "config_file", rules.existing_file_in(Path())),
    "log.level": ("log", "level", rules.one_of(rules.LOG_LEVELS)),
    "log.format": ("log", "format", rules.one_of(rules.LOG_FORMATS)),
}
"""For each flag that overrides the configuration: section and field of the schema, and what it may be."""


def _config(flags: Mapping[str, str]) -> Config:
    """The configuration with the flags over it. ConfigError tells the mistakes of both."""
    problems: list[str] = []
    try:
        config = load_config(flags.get("config.file", "config.yaml"), os.environ)
    except ConfigError as error:
        problems = error.problems
    given = _checked(flags, problems)
    return replace(config, web=replace(config.web, **given["web"]), log=replace(config.log, **given["log"]))


def _configure_logs(config: Config) -> None:
    logs.configure(config.log, secrets=[account.api_key for account in config.accounts if account.api_key])


def _checked(flags: Mapping[str, str], problems: list[str]) -> dict[str, dict[str, Any]]:
    """By section, the fields that the flags set. ConfigError with `problems` and the flags' own, if there are any."""
    given: dict[str, dict[str, Any]] = {"web": {}, "log": {}}
    for flag, (section, field, rule) in _RULES.items():
        if flag in flags:
            try:
                given[section][field] = rule(flags[flag])
            except ValueError as error:
                problems.append(f"--{flag}: {error}, got {shown(flags[flag])}")
    if problems:
        raise ConfigError(problems)
    return given
