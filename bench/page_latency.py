"""`make page-latency`: minutes from the first REJECTED of a burst to the notification, in real time.

The whole chain: the sandbox, an exporter with default settings, Prometheus with the rules and Alertmanager with the
configuration that are shipped, and a receiver in the place of the pager. Every message of the burst is rejected, and
rejected as soon as it is sent. Rates are messages a second; each has a sandbox and an exporter of its own:
`python -m bench.page_latency 5 100`. Takes 25 minutes, most of it for the rules, which look back for 20.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.running import REPOSITORY, free_address
from infobip_sandbox.chain import configure
from tests.alerting.servers import alertmanager, process, prometheus, ready, receiver, until

GOAL_MIN = 3.5
WATCHED_WITHIN_S = 30 * 60
TOLD_WITHIN_S = 20 * 60

CONFIG = """
accounts: [{{name: "{name}", base_url: "{log}", api_key: sandbox-key}}]
state: {{url: "sqlite:///{state}"}}
web: {{listen_address: "{address}"}}
"""


@dataclass(frozen=True, slots=True)
class Feed:
    """The exporter of one rate, and the sandbox behind it."""

    rate: float
    log_url: str
    address: str

    @property
    def account(self) -> str:
        return f"{self.rate:g} a second"

    def begin_burst(self) -> float:
        """All messages are rejected from now on; the time of it."""
        body = {"seconds": TOLD_WITHIN_S, "kind": "rejected", "share": 1.0}
        answer = httpx.post(f"{self.log_url}/sandbox/incident", json=body).raise_for_status()
        return float(answer.json()["start_ms"]) / 1000


@contextmanager
def feed(rate: float, folder: Path) -> Iterator[Feed]:
    """An exporter with default settings on a sandbox with even traffic."""
    folder.mkdir()
    traffic = ("--traffic", "daily_swing=0", "--traffic", "burstiness=0")
    server = [
        sys.executable, "-m", "infobip_sandbox", f"--rate={rate}", "--history-hours=0.2", *traffic,
    ]  # fmt: skip
    with subprocess.Popen(server, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as sandbox:
        assert sandbox.stdout is not None
        log_url = sandbox.stdout.readline().split()[1]
        made = Feed(rate, log_url, free_address())
        config = folder / "config.yaml"
        text = CONFIG.format(name=made.account, log=log_url, state=folder / "state.db", address=made.address)
        config.write_text(text)
        command = [sys.executable, str(REPOSITORY / "exporter.py"), "run", f"--config.file={config}"]
        try:
            with process(command, folder / "exporter.log"):
                until(lambda: ready(f"http://{made.address}/-/ready"))
                yield made
        finally:
            sandbox.terminate()


def measure(rates: Sequence[float], folder: Path) -> dict[float, float]:
    """By rate, the minutes from the first REJECTED to the notification."""
    with ExitStack() as running:
        url, received = running.enter_context(receiver())
        feeds = [running.enter_context(feed(rate, folder / f"{rate:g}")) for rate in rates]
        address = free_address()
        addresses = ", ".join(each.address for each in feeds)
        configs = configure(folder, addresses, address, url, factor=1)
        running.enter_context(alertmanager(configs[1], folder, address))
        asked = running.enter_context(prometheus(configs[0], folder))
        print("Waiting until the rules have seen 20 minutes.", flush=True)

        def watched() -> bool:
            query = {"query": "feed:infobip_exporter_current:min20m"}
            answer = httpx.get(f"{asked}/api/v1/query", params=query).json()
            return len(answer["data"]["result"]) == len(feeds)

        until(watched, WATCHED_WITHIN_S, every_s=5)
        began = {each.account: each.begin_burst() for each in feeds}
        told: dict[str, float] = {}

        def all_told() -> bool:
            for notification in received:
                for alert in notification["alerts"]:
                    labels = alert["labels"]
                    if labels["alertname"] == "RejectedSpike" and labels["account"] not in told:
                        told[labels["account"]] = time.time()
                        minutes = (time.time() - began[labels["account"]]) / 60
                        print(f"{labels['account']}: {minutes:.1f} min", flush=True)
            return len(told) == len(feeds)

        until(all_told, TOLD_WITHIN_S, every_s=0.5)
    return {each.rate: (told[each.account] - began[each.account]) / 60 for each in feeds}


def main(rates: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        measured = measure([float(rate) for rate in rates or ("5", "100")], Path(folder))
    print("\n| messages a second | first REJECTED to notification | goal |\n|--:|--:|--:|")
    for rate, minutes in measured.items():
        print(f"| {rate:g} | {minutes:.1f} min | {GOAL_MIN} min |")
    return int(any(minutes > GOAL_MIN for minutes in measured.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
