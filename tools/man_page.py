"""The manual page: the command's own help, and what a manual page has besides, as roff."""

from collections.abc import Iterable

from infobip_exporter import __version__
from tools.command_line import PROGRAM, Flag, commands, description, examples, flags, usage

_FILES = (
    ("config.yaml", "the configuration, in the working directory unless --config.file names another"),
    (
        "infobip-exporter.db",
        "what was counted, in the working directory unless state.url names another; keep it",
    ),
)
_ENVIRONMENT = (
    ("NAME", "what the configuration refers to as ${NAME}"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "a proxy on the way to the API; never for loopback"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "other certificate authorities"),
    ("NO_COLOR", "with the log's format console: without colours"),
)
_EXIT_STATUS = (
    ("0", "ended as asked"),
    ("1", "something did not work; check: a feed failed"),
    ("2", "flags, configuration, state or port can't be used"),
    ("130", "Ctrl-C before or after the work"),
    ("143", "SIGTERM before check or state was done"),
)
_SIGNALS = (
    ("SIGTERM, SIGINT", "finish the write at hand, and exit with 0 within 5 seconds"),
    ("SIGHUP", "read the configuration anew"),
)


def files() -> dict[str, str]:
    """The page by its path."""
    lines = [
        ".\\\" Written by `make generated` from the command's own parser.",
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}"',
        ".SH NAME",
        f"{_roff(PROGRAM)} \\- Infobip's message logs as exact Prometheus metrics",
        ".SH SYNOPSIS",
        f".B {_roff(PROGRAM)}",
        _roff(usage()),
        ".SH DESCRIPTION",
        _roff(description()),
        *_section("COMMANDS", ((word.name, word.text) for word in commands())),
        *_section("OPTIONS", ((_names(flag), flag.text) for flag in flags())),
        *_section("FILES", _FILES),
        *_section("ENVIRONMENT", _ENVIRONMENT),
        *_section("SIGNALS", _SIGNALS),
        *_section("EXIT STATUS", _EXIT_STATUS),
        *_section("EXAMPLES", examples()),
        ".SH SEE ALSO",
        _roff("prometheus(1), promtool(1)"),
    ]
    return {f"packaging/man/{PROGRAM}.1": "\n".join(lines) + "\n"}


def _section(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f".SH {title}"]
    for name, text in entries:
        lines += [".TP", f".B {_roff(name)}", *([_roff(text)] if text else ())]
    return lines


def _names(flag: Flag) -> str:
    return ", ".join(f"{name}={flag.value}" if flag.value else name for name in flag.names)


def _roff(text: str) -> str:
    """`text` without a meaning to roff: a minus is one, also when it is copied, and no line is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
