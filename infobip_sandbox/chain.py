"""From the numbers to the pager, for the demo: Prometheus and Alertmanager where the machine has them.

The rules are those of prometheus/rules, so this needs the source tree. They look back for 15 minutes and more: too long to
watch, so all their durations are divided.
"""

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RULES = Path(__file__).resolve().parents[1] / "prometheus"
FASTER = 10
"""How much faster than in earnest the demo's rules go."""

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# The label `window` names a rule, it does not time it.
_DURATION = re.compile(r"(?<!window: )\b(\d+)(ms|[smhdw])\b")
_PROGRAMS = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}


def hurried(text: str, factor: int) -> str:
    """Rules or a configuration of Prometheus or Alertmanager with every duration divided by `factor`."""

    def divided(match: re.Match[str]) -> str:
        return f"{int(match[1]) * _UNITS_MS[match[2]] // factor}ms"

    return _DURATION.sub(divided, text)


def configure(
    folder: Path, exporter: str, alertmanager: str, receiver: str, factor: int
) -> tuple[Path, Path]:
    """Write the configurations with their rules into `folder`: Prometheus' and Alertmanager's.

    `exporter` and `alertmanager` are HOST:PORT; `receiver` is the URL below which `/pager` and `/chat` are told.
    """
    (folder / "rules").mkdir(exist_ok=True)
    for path in (RULES / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(hurried(path.read_text(), factor))
    places = {"localhost:10470": exporter, "localhost:9093": alertmanager, "http://localhost:9095": receiver}
    written = []
    for name in ("prometheus.yml", "alertmanager.yml"):
        text = hurried((RULES / name).read_text(), factor)
        for example, place in places.items():
            text = text.replace(example, place)
        path = folder / name
        path.write_text(text)
        written.append(path)
    return written[0], written[1]


@contextmanager
def chain(exporter: str, folder: Path, told: Callable[[str], None]) -> Iterator[str]:
    """Run what the machine has on the exporter at HOST:PORT; yields words on where to look, or on what is missing.

    `told` is called, on a thread of its own, with a line for each alert that the pager or the chat gets.
    """
    found = {
        program: next(filter(None, map(shutil.which, names)), None) for program, names in _PROGRAMS.items()
    }
    missing = [program for program, path in found.items() if path is None]
    if missing or not RULES.is_dir():
        what = (
            f"{' and '.join(missing)} not found here" if missing else "the rules are in the source tree only"
        )
        yield (
            f"The demo starts no Prometheus of its own: {what}.\n"
            "A Prometheus that scrapes it with prometheus/rules, as compose.yaml's does, has the alerts."
        )
        return
    prometheus, alertmanager = _free_address(), _free_address()
    folder.mkdir(exist_ok=True)
    with ExitStack() as running:
        configs = configure(folder, exporter, alertmanager, running.enter_context(_pager(told)), FASTER)
        running.enter_context(
            _process(
                folder, str(found["prometheus"]), f"--config.file={configs[0]}", f"--web.listen-address={prometheus}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
            )
        )  # fmt: skip
        running.enter_context(
            _process(
                folder, str(found["alertmanager"]), f"--config.file={configs[1]}", f"--web.listen-address={alertmanager}",
                f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=",
            )
        )  # fmt: skip
        yield (
            f"Prometheus (rules {FASTER} times as fast as in earnest) and Alertmanager watch it:\n\n"
            f"  alerts        http://{prometheus}/alerts\n"
            f"  notified      http://{alertmanager}/\n\n"
            "Who is paged is told here. The rules watch for two minutes before they speak."
        )


# However we end, kill -9 too, the pipe to this shell closes, its `read` returns, and the program ends with us.
_ENDS_WITH_US = '"$@" & read -r _; kill $!; wait'


@contextmanager
def _process(folder: Path, *command: str) -> Iterator[None]:
    shell = ("sh", "-c", _ENDS_WITH_US, "sh", *command)
    # A session of its own: Ctrl-C is for the exporter, this ends after it.
    with (folder / "servers.log").open("ab") as log:
        running = subprocess.Popen(  # noqa: S603 - programs found on PATH
            shell, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            running.communicate()


@contextmanager
def _pager(told: Callable[[str], None]) -> Iterator[str]:
    known: dict[str, str] = {}  # by the alert's fingerprint: a notification repeats its whole group

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for alert in json.loads(body)["alerts"]:
                key = f"{self.path} {alert['fingerprint']}"
                if known.get(key) == alert["status"]:
                    continue
                known[key] = alert["status"]
                name, summary = alert["labels"]["alertname"], alert["annotations"]["summary"]
                told(f"{self.path.removeprefix('/')}: {alert['status']}: {name}: {summary}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so named by the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"
