"""What hostile clients do to an honest scraper, and to the memory: here and at Debian's node exporter, side by side.

`python -m bench attacks`, or some of them with BENCH_ATTACKS="pipelined silent"; `docs/security-model.md` shows the figures. The node exporter gets a page of the same size by its
textfile collector, and the same file for TLS and passwords. Every attack meets servers that were just started.
"""

import base64
import http.client
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import trustme
import yaml

from bench.attacker import ATTACKS
from bench.figures import Figure
from bench.running import REPOSITORY, free_address, memory_mib, wait

NODE_EXPORTER = "prometheus-node-exporter"
PLATFORMS = 450
MESSAGES = 30_000
CHANNELS = ["instagram", "messenger"]
"""Each reads the same log: 10,000 series each, 3 MB together."""
SECONDS = 15.0
EVERY_S = 0.5
PATIENCE_S = 10.0
GOAL_MIB = 200.0
GOAL_S = 1.0
PASSWORD = "correct horse"  # noqa: S105 - of a server that runs for a minute on loopback

TITLES = {
    "pipelined": "410 connections that ask on and on and never read",
    "slow-readers": "300 clients that read a byte a second",
    "slow-requests": "600 clients that send a byte a second",
    "silent": "800 connections that say nothing",
    "scrapes": "50 clients that scrape without a pause",
    "heads": "50 clients that send 900 KB of headers",
    "handshakes": "600 TLS handshakes that are not finished",
    "passwords": "200 wrong passwords a second from 8 addresses",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running exporter. `headers` are what an honest scraper sends."""

    address: str
    pid: int
    tls: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Honest:
    """What an honest scraper saw: how long each scrape took, PATIENCE_S where it failed; the same of health checks."""

    scrapes_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    def look(self, server: Server, health: str) -> None:
        for path, taken_s in (("/metrics", self.scrapes_s), (health, self.health_s)):
            began_s = time.monotonic()
            try:
                get(server, path)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failed += path == "/metrics"
                self.errors.append(f"{path}: {error!r} after {time.monotonic() - began_s:.2f} s")
                taken_s.append(PATIENCE_S)
            else:
                taken_s.append(time.monotonic() - began_s)


def get(server: Server, path: str) -> bytes:
    """The page at `path`, on a connection of its own."""
    if server.tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            server.address, timeout=PATIENCE_S, context=server.tls
        )
    else:
        connection = http.client.HTTPConnection(server.address, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers=server.headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        return body
    finally:
        connection.close()


def under_attack(name: str, server: Server, health: str, seconds: float = SECONDS) -> Honest:
    """What an honest scraper sees while `server` is attacked."""
    honest = Honest()
    if "Authorization" not in server.headers:  # else the password is to be checked for the first time
        get(server, "/metrics")  # whose first page takes longer
    command = [sys.executable, "-m", "bench.attacker", name, server.address, str(seconds)]
    with subprocess.Popen(command, cwd=REPOSITORY) as attacking:
        try:
            time.sleep(0.5 * EVERY_S)
            while attacking.poll() is None:
                honest.look(server, health)
                time.sleep(EVERY_S)
        finally:
            attacking.kill()
    for error in honest.errors:
        print(f"{name}: {error}", file=sys.stderr)
    return honest


@dataclass(frozen=True, slots=True)
class Security:
    """A web configuration as both exporters read it, and what a client needs for it."""

    file: Path | None = None
    tls: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)


def security_for(name: str, folder: Path) -> Security:
    """TLS for an attack on handshakes, users for one on passwords, for others neither."""
    file = folder / "web.yml"
    if name == "handshakes":
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "server.key")
        issued.cert_chain_pems[0].write_to_path(folder / "server.crt")
        file.write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return Security(file, context)
    if name == "passwords":
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
        file.write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": hashed}}))
        basic = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
        return Security(file, headers={"Authorization": f"Basic {basic}"})
    return Security()


@contextmanager
def exporter(folder: Path, log_url: str, security: Security, channels: list[str]) -> Iterator[Server]:
    """Our exporter, about to read the log at `log_url`."""
    folder.mkdir(exist_ok=True)
    address = free_address()
    config = {
        "accounts": [
            {
                "name": "bench",
                "base_url": log_url,
                "api_key": "bench",
                "channels": channels,
                "requests_per_minute": 6000,
            }
        ],
        "poll": {"lookback": "13h", "timeout": "1m"},
        "metrics": {"zero_hold": "0s"},
        "state": {"url": f"sqlite:///{folder / 'state.db'}"},
        "web": {"listen_address": address} | ({"config_file": str(security.file)} if security.file else {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "exporter.py", f"--config.file={folder / 'config.yaml'}"]
    with _server(command, address, security, folder) as server:
        yield server


@contextmanager
def node_exporter(folder: Path, page: bytes, security: Security) -> Iterator[Server]:
    """Debian's node exporter with `page` among its metrics."""
    folder.mkdir(exist_ok=True)
    (folder / "page.prom").write_bytes(page)
    address = free_address()
    command = [
        NODE_EXPORTER,
        f"--web.listen-address={address}",
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
        *([f"--web.config.file={security.file}"] if security.file else []),
    ]
    with _server(command, address, security, folder) as server:
        yield server


@contextmanager
def _server(command: list[str], address: str, security: Security, folder: Path) -> Iterator[Server]:
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log) as process,
    ):
        try:
            # Without the password, which nobody is to have checked before the attack.
            plain = Server(address, process.pid, security.tls)
            wait(lambda: _is_listening(plain), 20.0)
            yield Server(address, process.pid, security.tls, security.headers)
        finally:
            process.terminate()
            process.wait()


def _is_listening(server: Server) -> bool:
    try:
        get(server, "/-/healthy")
    except OSError:
        return False
    except AssertionError:
        pass  # refused or not there, but answered
    return True


def measure(folder: Path) -> list[Figure]:
    assert shutil.which(NODE_EXPORTER), (
        f"{NODE_EXPORTER} is not on this machine (Debian: apt install {NODE_EXPORTER})"
    )
    command = [sys.executable, "-m", "bench.log_server", str(MESSAGES), "12", str(PLATFORMS)]
    figures: list[Figure] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as log:
        assert log.stdout is not None
        url = log.stdout.readline().strip()
        try:
            subprocess.run(["curl", "-s", f"{url}/bench/open"], check=True, stdout=subprocess.DEVNULL)
            page = _state(folder, url)
            for name in os.environ.get("BENCH_ATTACKS", "").split() or ATTACKS:
                figures += _measured(name, folder / name, folder / "read", url, page)
        finally:
            log.terminate()
    return figures


def _state(folder: Path, url: str) -> bytes:
    """Have the log read once, so that each attack begins with the whole page; returns that."""
    with exporter(folder / "read", url, Security(), CHANNELS) as server:
        wait(lambda: b"backlog_seconds" in (page := get(server, "/metrics")) and _is_read(page), 120.0, 1.0)
        return get(server, "/metrics")


def _is_read(page: bytes) -> bool:
    backlogs = [line for line in page.splitlines() if line.startswith(b"infobip_exporter_backlog_seconds{")]
    return page.count(b"infobip_messages_sent_total{") >= PLATFORMS * len(CHANNELS) and all(
        float(line.split()[-1]) == 0 for line in backlogs
    )


def _measured(name: str, folder: Path, read: Path, url: str, page: bytes) -> list[Figure]:
    folder.mkdir()
    security = security_for(name, folder)
    shutil.copytree(read, folder / "here")
    with exporter(folder / "here", url, security, CHANNELS) as server:
        ours, our_mib = under_attack(name, server, "/-/healthy"), memory_mib(server.pid, "VmHWM")
    # Of the process alone: what our page begins with is its own, too.
    textfile = b"\n".join(line for line in page.splitlines() if b"infobip_" in line) + b"\n"
    with node_exporter(folder / "there", textfile, security) as server:
        theirs, their_mib = under_attack(name, server, "/"), memory_mib(server.pid, "VmHWM")
    title = TITLES[name]
    return [
        Figure(f"{title}: slowest scrape", max(ours.scrapes_s), "s", GOAL_S, _beside(f"{max(theirs.scrapes_s):.2f} s")),
        Figure(f"{title}: scrapes that failed", ours.failed, f"of {len(ours.scrapes_s)}", 0,
               _beside(f"{theirs.failed} of {len(theirs.scrapes_s)}")),
        Figure(f"{title}: slowest health check", max(ours.health_s), "s", GOAL_S,
               _beside(f"{max(theirs.health_s):.2f} s")),
        Figure(f"{title}: memory (VmHWM)", our_mib, "MiB", GOAL_MIB, _beside(f"{their_mib:.0f} MiB")),
    ]  # fmt: skip


def _beside(value: str) -> str:
    return f"node exporter: {value}"
