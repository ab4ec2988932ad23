"""The `demo` command: a simulated Infobip with lively traffic, and the exporter on it, in one process.

Where the machine has Prometheus and Alertmanager, they watch it, and what the pager gets is printed.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from infobip_exporter.config.schema import Account, Config, Log, Metrics, Poll, State, Web
from infobip_exporter.errors import ListenError
from infobip_exporter.model.secret import Secret
from infobip_sandbox.access import SandboxAccount
from infobip_sandbox.chain import chain
from infobip_sandbox.quirks import Quirks
from infobip_sandbox.server import Sandbox
from infobip_sandbox.site import SiteOptions
from infobip_sandbox.traffic import HOUR_MS, Incident, Traffic

LISTEN_ADDRESS = "127.0.0.1:10470"
CHANNELS = ("instagram", "messenger")
_MINUTE_MS = 60_000
_LOOKBACK_S = 7200.0
_FIRST_INCIDENT_MS = 40_000
"""From the start to the first burst of REJECTED: soon enough to watch, late enough to see the calm before."""


Watch = Callable[[str, Path, Callable[[str], None]], AbstractContextManager[str]]


def demo(
    listen_address: str | None,
    log: Log,
    *,
    run: Callable[[Config], int] | None = None,
    watch: Watch = chain,
) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code of `run`, by default the exporter's own.

    `watch` is what watches the exporter meanwhile, as `chain` does.

    Raises ListenError, with the way out, when `listen_address` (default 127.0.0.1:10470) is taken.
    """
    if run is None:
        from infobip_exporter.app import run as run_exporter  # noqa: PLC0415 - takes a moment to load

        run = run_exporter
    address = listen_address or LISTEN_ADDRESS
    with (
        tempfile.TemporaryDirectory(prefix="infobip-exporter-demo-") as folder,
        Sandbox(site_options(int(time.time() * 1000))) as sandbox,
        watch(_reached_at(address), Path(folder), _tell) as watched,
    ):
        config = _config(sandbox, Path(folder), address, log)
        print(_where_to_look(address, sandbox.base_url, watched), flush=True)
        try:
            return run(config)
        except ListenError as error:
            raise ListenError(
                f"{error}; another port: demo --web.listen-address=127.0.0.1:{_other_port(address)}"
            ) from error


def site_options(now_ms: int) -> SiteOptions:
    """The simulated Infobip of a demo that starts at `now_ms`."""
    return SiteOptions(
        seed=1,
        traffic=_traffic(now_ms),
        quirks=Quirks(new_field_share=0.02, without_content_share=0.01),
        accounts=(SandboxAccount("demo", "demo-key", CHANNELS),),
        history_ms=6 * HOUR_MS,
    )


def _traffic(now_ms: int) -> Traffic:
    """Lively, with a burst of REJECTED soon and every ten minutes, and other trouble in between."""
    first_ms = now_ms + _FIRST_INCIDENT_MS - 36 * 10 * _MINUTE_MS
    return Traffic(
        per_second=3.0,
        daily_swing=0.2,
        bad_share=0.0002,
        incidents=(
            Incident(
                first_ms,
                _MINUTE_MS,
                "rejected",
                "shop-france",
                extra_per_second=2.0,
                every_ms=10 * _MINUTE_MS,
            ),
            Incident(
                first_ms + 4 * _MINUTE_MS, _MINUTE_MS, "undeliverable", "bank", 0.6, every_ms=20 * _MINUTE_MS
            ),
            Incident(
                first_ms + 6 * _MINUTE_MS,
                2 * _MINUTE_MS,
                "slow",
                "shop-germany",
                0.5,
                every_ms=30 * _MINUTE_MS,
            ),
        ),
    )


def _config(sandbox: Sandbox, folder: Path, address: str, log: Log) -> Config:
    account = Account("demo", sandbox.base_url, api_key=Secret(sandbox.api_key), channels=CHANNELS)
    return Config(
        accounts=(account,),
        poll=Poll(interval_s=5.0, lookback_s=_LOOKBACK_S),
        metrics=Metrics(zero_hold_s=15.0, labels=(*Metrics().labels, "campaign")),
        state=State(f"sqlite:///{folder / 'demo.db'}"),
        web=Web((address,)),
        log=log,
    )


def _reached_at(address: str) -> str:
    """HOST:PORT at which what listens on `address` is reached from this machine."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0", "[::]") else address  # noqa: S104 - compared, not listened on


def _tell(line: str) -> None:
    print(line, flush=True)


def _where_to_look(address: str, sandbox_url: str, watched: str) -> str:
    url = f"http://{_reached_at(address)}"
    return f"""
A simulated Infobip is at {sandbox_url}, with {" and ".join(CHANNELS)} traffic of the last hours and of now.
The exporter reads it every 5 s:

  status page   {url}/
                "Verified up to" there is how far the audit has proven the counts
  metrics       {url}/metrics

{watched}

Ask Prometheus (your own: scrape_interval: 5s):

  messages by status, per second
    sum by (channel, general_status) (rate(infobip_messages_total[1m]))
  share of REJECTED by entity; shop-france has a burst in {_FIRST_INCIDENT_MS // 1000} s, then every 10 minutes
    sum by (entity_id) (rate(infobip_messages_total{{general_status="REJECTED"}}[1m]))
      / sum by (entity_id) (rate(infobip_messages_total[1m]))
  cost of the last hour by price list
    sum by (currency) (increase(infobip_cost_total[1h]))
  what the audit has verified, recovered and missed
    sum by (channel, result) (infobip_exporter_audit_messages_total)
  half of the messages are delivered within
    histogram_quantile(0.5, sum by (le) (
      rate(infobip_delivery_duration_seconds_bucket{{general_status="DELIVERED"}}[5m])))

Ctrl-C ends it; nothing is kept.
"""


def _other_port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) + 1 if port.isdigit() and int(port) < 65_535 else 0
