"""The command line: flags and commands as in Prometheus' own programs."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import structlog

from infobip_exporter import __version__, logs
from infobip_exporter.config import rules
from infobip_exporter.config.authentication import secrets_of
from infobip_exporter.config.load import load_config, load_state, warnings
from infobip_exporter.config.problems import Unshown, shown
from infobip_exporter.config.schema import Config, Log, State
from infobip_exporter.errors import ConfigError, ExporterError, LedgerError, ListenError
from infobip_exporter.signals import SIGNALS

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
"""Exit codes: something did not work; flags, config, state or port can't be used; Ctrl-C before or after the work."""

_PROGRAM = "infobip-exporter"
_DESCRIPTION = """\
Turns Infobip's message logs into exact Prometheus metrics, at :10470/metrics.

commands:
  run (default)    poll and serve metrics until stopped
  check            one small question to each account and channel
  demo             an exporter on a simulated Infobip; --replicas: two of them
  state            what was counted; check: is it sound; backup FILE; copy URL
"""
EXAMPLES = (
    (f"{_PROGRAM} check --config.file=infobip.yaml", ""),
    (f"{_PROGRAM} demo", "needs no account and no file"),
    (f"{_PROGRAM} --log.format=json", "runs with config.yaml"),
)
"""Command lines, and what is to be said of each. The help has room for the first alone, to fit a screen of 24 lines."""

_FLAGS = (
    ("config.file", "PATH", "the configuration (default config.yaml)"),
    ("web.listen-address", "ADDRESS", "host:port, :port, [v6]:port, unix:/path"),
    ("web.config.file", "PATH", "TLS and basic auth (exporter-toolkit)"),
    ("web.enable-lifecycle", None, "reload the configuration at POST /-/reload"),
    ("log.level", "LEVEL", "debug, info (default), warn or error"),
    ("log.format", "FORMAT", "logfmt (default), json or console"),
    ("state.url", "URL", "the state; state then needs no --config.file"),
    ("state.format", "STYLE", "of what state prints: text (default) or json"),
)
_REPEATABLE = {"web.listen-address"}

STYLES = ("text", "json")
Flags = Mapping[str, Any]
"""The flags that are given: their texts, a list of texts for a repeatable one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; the exit code."""
    try:
        code = _run_command(argv)
        sys.stdout.flush()  # Here, where a broken pipe is understood.
        return code  # noqa: TRY300
    except ExporterError as error:
        print(error, file=sys.stderr)
        return UNUSABLE if isinstance(error, ConfigError | LedgerError | ListenError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run_command(argv: Sequence[str] | None) -> int:
    try:
        parser = _parser()
        arguments, words = parser.parse_known_args(argv)
        if words and (arguments.command != "state" or any(word.startswith("-") for word in words)):
            parser.error(f"unrecognized arguments: {' '.join(words)}")
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else UNUSABLE
    # The flags have dots in their names, as Prometheus' do.
    flags = {name: value for name, value in vars(arguments).items() if value is not None}
    command = flags.pop("command")
    if "state.format" in flags and command != "state":
        raise ConfigError(["--state.format: belongs to state; the logs have --log.format"])
    if "replicas" in flags and command != "demo":
        raise ConfigError(["--replicas: belongs to demo; replicas are exporters with one state.url"])
    if command not in _UNTIL_TOLD_TO_END:
        SIGNALS.end_at_once()
    if command != "run":
        SIGNALS.let_hang_up_end()
    return _COMMANDS[command](flags, words)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{_PROGRAM}: {message}; see {_PROGRAM} --help\n")


class _Once(argparse.Action):
    """Keeps the value of a flag that can't be given twice."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: Any = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "is given twice")
        setattr(namespace, self.dest, values)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        usage="%(prog)s [run | check | demo | state] [flags]",
        description=_DESCRIPTION,
        epilog=f"example: {EXAMPLES[0][0]}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=32),
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("command", nargs="?", choices=list(_COMMANDS), default="run", help=argparse.SUPPRESS)
    flags = parser.add_argument_group("flags, each over the configuration")
    for flag, metavar, text in _FLAGS:
        if metavar is None:
            flags.add_argument(f"--{flag}", dest=flag, action="store_const", const="yes", help=text)
        else:
            action = "append" if flag in _REPEATABLE else _Once
            flags.add_argument(f"--{flag}", dest=flag, metavar=metavar, action=action, help=text)
    flags.add_argument(
        "--replicas", action="store_const", const="yes", help=argparse.SUPPRESS
    )  # told at demo
    version = f"{_PROGRAM} {__version__} (Python {platform.python_version()})"
    flags.add_argument("--version", action="version", version=version, help="show the version and exit")
    flags.add_argument("--help", "-h", action="help", help="show this and exit")
    return parser


# The commands import what they need themselves: `--help` and a wrong config answer at once.


def _run(flags: Flags, _words: Sequence[str]) -> int:
    from infobip_exporter.reload import Reloads, hung_up  # noqa: PLC0415

    reloads = Reloads(partial(_config, flags))
    with hung_up(reloads):
        config = _config(flags)
        from infobip_exporter import app  # noqa: PLC0415
        from infobip_exporter.systemd import tell_ready  # noqa: PLC0415

        _configure_logs(config)
        for warning in warnings(config):
            structlog.get_logger().warning(warning)
        if SIGNALS.end_wanted:
            return 0
        tell_ready(os.environ)
        return app.run(config, reloads, lifecycle="web.enable-lifecycle" in flags)


def _check(flags: Flags, _words: Sequence[str]) -> int:
    config = _config(flags)
    from infobip_exporter import check  # noqa: PLC0415

    _configure_logs(config)
    if config.web.config_file:
        from infobip_exporter.web.web_config import load_web_config  # noqa: PLC0415

        load_web_config(config.web.config_file)
    for warning in warnings(config):
        print(f"warn  {warning}")
    return check.check(config)


def _demo(flags: Flags, _words: Sequence[str]) -> int:
    unfit = [flag for flag in ("config.file", "web.config.file", "state.url") if flag in flags]
    others = {flag: value for flag, value in flags.items() if flag not in unfit}
    problems = [f"--{flag}: demo takes no configuration" for flag in unfit]
    addresses = flags.get("web.listen-address", [])
    if any(address.startswith("unix:") for address in addresses):
        problems.append("--web.listen-address: demo needs host:port or :port, to be looked at")
    if len(addresses) > 1:
        problems.append("--web.listen-address: demo listens on one address")
    given = _checked(others, problems)
    log = replace(Log(), **given["log"])
    from infobip_sandbox import demo, demo_replicas  # noqa: PLC0415

    if "replicas" in flags:
        return demo_replicas.demo_replicas()
    logs.configure(log)
    return demo.demo(addresses[0] if addresses else None, log)


def _state(flags: Flags, words: Sequence[str]) -> int:
    style = flags.get("state.format", STYLES[0])
    problems: list[str] = []
    if style not in STYLES:
        problems.append(f"--state.format: must be one of {', '.join(STYLES)}, got {shown(style)}")
    state = State()
    if "state.url" not in flags:
        # Not the whole configuration: the keys that it names may be there for the running service alone.
        try:
            state = load_state(_config_file(flags), os.environ)
        except ConfigError as error:
            problems[:0] = error.problems
    state = replace(state, **_checked(flags, problems)["state"])
    from infobip_exporter import state_command  # noqa: PLC0415

    return state_command.state(state, words, style)


_Command = Callable[[Flags, Sequence[str]], int]
_COMMANDS: dict[str, _Command] = {"run": _run, "check": _check, "demo": _demo, "state": _state}
"""Each gets the flags, and the words behind its name: only `state` takes any."""
_UNTIL_TOLD_TO_END = ("run", "demo")
"""Those for which SIGTERM is the normal end. The others have not done their work then."""

_RULES: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "web.listen-address": ("web", "listen_address", rules.listen_address),
    "web.config.file": ("web", "config_file", rules.existing_file_in(Path())),
    "log.level": ("log", "level", rules.one_of(rules.LOG_LEVELS)),
    "log.format": ("log", "format", rules.one_of(rules.LOG_FORMATS)),
    "state.url": ("state", "url", rules.state_url),
}
"""For each flag that overrides the configuration: section and field of the schema, and what it may be."""


def _config(flags: Flags) -> Config:
    """The configuration with the flags over it. ConfigError tells the mistakes of both."""
    found: list[str] = []
    try:
        config = load_config(_config_file(flags), os.environ)
    except ConfigError as error:
        found += error.problems
    given = _checked(flags, found)
    return replace(
        config,
        web=replace(config.web, **given["web"]),
        log=replace(config.log, **given["log"]),
        state=replace(config.state, **given["state"]),
    )


def _config_file(flags: Flags) -> str:
    file: str = flags.get("config.file", "config.yaml")
    if not file:  # as of --config.file=$UNSET; as a path it would be the working directory
        raise ConfigError(["--config.file: must name a file"])
    return file


def _configure_logs(config: Config) -> None:
    secrets = [secret for each in config.accounts for secret in secrets_of(each)]
    logs.configure(config.log, secrets=[*secrets, *filter(None, [config.state.password])])


def _checked(flags: Flags, problems: list[str]) -> dict[str, dict[str, Any]]:
    """By section, the fields that the flags set. ConfigError with `problems` and the flags' own, if there are any."""
    given: dict[str, dict[str, Any]] = {"web": {}, "log": {}, "state": {}}
    for flag, (section, field, rule) in _RULES.items():
        if flag not in flags:
            continue
        texts = flags[flag] if flag in _REPEATABLE else [flags[flag]]
        values = []
        for text in texts:
            try:
                values.append(rule(text))
            except Unshown as error:
                problems.append(f"--{flag}: {error}")
            except ValueError as error:
                problems.append(f"--{flag}: {error}, got {shown(text)}")
        problems += [
            f"--{flag}: is given twice, got {shown(text)}" for text in set(texts) if texts.count(text) > 1
        ]
        given[section][field] = tuple(values) if flag in _REPEATABLE else next(iter(values), None)
    if problems:
        raise ConfigError(problems)
    return given
