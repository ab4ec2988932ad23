"""`python -m infobip_sandbox`: a simulated Infobip to try the exporter, or any client, against."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from infobip_exporter.model.channels import LOG_PATHS
from infobip_sandbox.access import AccessRules, SandboxAccount
from infobip_sandbox.faults import FAULT_KINDS, Faults
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.server import SandboxServer
from infobip_sandbox.settings import SettingError, changed
from infobip_sandbox.site import SiteOptions
from infobip_sandbox.traffic import HOUR_MS, Traffic


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Serve until SIGTERM or SIGINT. The first line on `out` is `listening http://HOST:PORT`."""
    flags = _flags().parse_args(arguments)
    try:
        options = _options(flags)
    except SettingError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    host, _, port = flags.listen.rpartition(":")
    try:
        asyncio.run(_serve(options, host, int(port), flags.clock_offset_seconds, out))
    except OSError as error:
        sys.stderr.write(f"sandbox: can't listen on {flags.listen}: {error.strerror or error}\n")
        return 1
    return 0


async def _serve(options: SiteOptions, host: str, port: int, offset_s: float, out: TextIO) -> None:
    server = SandboxServer(options, lambda: int((time.time() + offset_s) * 1000))
    bound = await server.start(host, port)
    out.write(f"listening http://{host}:{bound}\n")
    out.flush()
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    await ended.wait()
    await server.stop()


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m infobip_sandbox", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same messages")
    parser.add_argument("--rate", type=float, default=2.0, metavar="N", help="messages per second")
    parser.add_argument("--history-hours", type=float, default=48.0, help="how far back the traffic goes")
    parser.add_argument(
        "--keep-messages", type=int, default=100_000, help="messages kept in memory a channel"
    )
    parser.add_argument("--clock-offset-seconds", type=float, default=0.0, help="set the API's clock wrong")
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME:KEY[:CHANNEL,...]",
        help="an account whose key may read these channels, or all (default: demo:sandbox-key); "
        "name and key are also user and password, and client id and client secret",
    )
    settings = "; may be given several times"
    parser.add_argument(
        "--traffic", action="append", default=[], metavar="NAME=VALUE", help=f"of Traffic{settings}"
    )
    parser.add_argument(
        "--quirk", action="append", default=[], metavar="NAME=VALUE", help=f"of Quirks{settings}"
    )
    parser.add_argument(
        "--access", action="append", default=[], metavar="NAME=VALUE", help=f"of AccessRules{settings}"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"of Faults, or the share of a kind ({', '.join(FAULT_KINDS)}){settings}",
    )
    return parser


def _options(flags: argparse.Namespace) -> SiteOptions:
    faults = _pairs(flags.fault)
    shares = {name: faults.pop(name) for name in list(faults) if name in FAULT_KINDS}
    return SiteOptions(
        seed=flags.seed,
        traffic=changed(Traffic(per_second=flags.rate), _pairs(flags.traffic)),
        quirks=changed(Quirks(), _pairs(flags.quirk)),
        faults=changed(Faults(), faults | ({"shares": shares} if shares else {})),
        access=changed(AccessRules(), _pairs(flags.access)),
        accounts=tuple(map(_account, flags.account)) if flags.account else (SandboxAccount(),),
        history_ms=int(flags.history_hours * HOUR_MS),
        keep_messages=flags.keep_messages,
    )


def _pairs(texts: Sequence[str]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"{text}: must be NAME=VALUE")
        pairs[name] = value
    return pairs


def _account(text: str) -> SandboxAccount:
    name, _, rest = text.partition(":")
    key, _, channels = rest.partition(":")
    if not name or not key:
        raise SettingError(f"account {name}: must be NAME:KEY or NAME:KEY:CHANNEL,...")
    named = tuple(channels.split(",")) if channels else tuple(LOG_PATHS)
    for channel in named:
        if channel not in LOG_PATHS:
            raise SettingError(f"account {name}: no channel {channel}; there are {', '.join(LOG_PATHS)}")
    return SandboxAccount(name, key, named)


if __name__ == "__main__":
    sys.exit(main())
