"""The commands: what each does with its flags and the configuration."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

import structlog

from infobip_exporter import logs
from infobip_exporter.arguments import FLAGS_OF, UNUSABLE, parser
from infobip_exporter.config.load import load_config, load_state, warnings
from infobip_exporter.config.schema import Config, Log, State, Web
from infobip_exporter.errors import ConfigError, ExporterError, LedgerError, ListenError
from infobip_exporter.signals import SIGNALS

FAILED, INTERRUPTED = 1, 130
"""Exit codes: something did not work; Ctrl-C before or after the work."""

_Flags = Mapping[str, Any]
"""By name, what is given, checked."""
_Section = TypeVar("_Section", Web, Log, State)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names; the exit code."""
    try:
        code = _run_command(argv)
        sys.stdout.flush()  # Here, where a broken pipe is understood.
        return code  # noqa: TRY300
    except ExporterError as error:
        logs.flush()  # so that the error is the last line, and one of its own
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
        given = vars(parser().parse_args(argv))
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else UNUSABLE
    command = given.pop("command")
    # Those of `run` may stand before another command.
    unfit = [flag for flag in given if flag in FLAGS_OF["run"] and flag not in FLAGS_OF[command]]
    if unfit:
        raise ConfigError([f"--{flag}: {command} has no such flag" for flag in unfit])
    if command not in _UNTIL_TOLD_TO_END:
        SIGNALS.end_at_once()
    if command != "run":
        SIGNALS.let_hang_up_end()
    return _COMMANDS[command]({"config.file": "config.yaml"} | given)


# The commands import what they need themselves: `--help` and a wrong config answer at once.


def _run(flags: _Flags) -> int:
    config = _config(flags)
    from infobip_exporter import app, reload  # noqa: PLC0415
    from infobip_exporter.systemd import tell_ready  # noqa: PLC0415

    logs.configure(config.log, secrets=config.secrets)
    for warning in warnings(config):
        structlog.get_logger().warning(warning)
    if SIGNALS.end_wanted:
        return 0
    tell_ready(os.environ)
    reloads = reload.Reloads(partial(_config, flags))
    return app.run(config, reloads, lifecycle="web.enable-lifecycle" in flags)


def _check(flags: _Flags) -> int:
    config = _config(flags)
    from infobip_exporter import check  # noqa: PLC0415

    logs.configure(config.log, secrets=config.secrets)
    if config.web.config_file:
        from infobip_exporter.web.web_config import load_web_config  # noqa: PLC0415

        load_web_config(config.web.config_file)
    for warning in warnings(config):
        print(f"warn  {warning}")
    return check.check(config)


def _demo(flags: _Flags) -> int:
    addresses = flags.get("web.listen-address", ())
    if any(address.startswith("unix:") for address in addresses):
        raise ConfigError(["--web.listen-address: demo needs host:port or :port, to be looked at"])
    if len(addresses) > 1:
        raise ConfigError(["--web.listen-address: demo listens on one address"])
    log = _over(Log(), "log", flags)
    from infobip_sandbox import demo, demo_replicas  # noqa: PLC0415

    if "replicas" in flags:
        return demo_replicas.demo_replicas()
    logs.configure(log)
    return demo.demo(addresses[0] if addresses else None, log)


def _state(flags: _Flags) -> int:
    # Not the whole configuration: the keys that it names may be there for the running service alone.
    state = State() if "state.url" in flags else load_state(flags["config.file"], os.environ)
    from infobip_exporter import state_command  # noqa: PLC0415

    return state_command.state(
        _over(state, "state", flags),
        flags["action"],
        flags.get("target", ""),
        flags.get("state.format", "text"),
    )


_COMMANDS: dict[str, Callable[[_Flags], int]] = {"run": _run, "check": _check, "demo": _demo, "state": _state}
_UNTIL_TOLD_TO_END = ("run", "demo")
"""Those for which SIGTERM is the normal end. The others have not done their work then."""


def _config(flags: _Flags) -> Config:
    """The configuration with the flags over it."""
    config = load_config(flags["config.file"], os.environ)
    return replace(
        config,
        web=_over(config.web, "web", flags),
        log=_over(config.log, "log", flags),
        state=_over(config.state, "state", flags),
    )


def _over(section: _Section, name: str, flags: _Flags) -> _Section:
    """The `section` called `name` with its flags over it: --web.config.file goes before web.config_file."""
    given = {re.sub("[.-]", "_", flag): value for flag, value in flags.items()}
    found = {f.name: given[f"{name}_{f.name}"] for f in fields(section) if f"{name}_{f.name}" in given}
    return replace(section, **found)
