import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

import infobip_exporter
from infobip_exporter import app, cli, logs, state_command
from infobip_exporter import check as check_module
from infobip_exporter.arguments import FLAGS_OF
from infobip_exporter.config.schema import Config, Log, State
from infobip_exporter.errors import ExporterError, LedgerError, ListenError
from infobip_exporter.metrics.snapshot import Reloaded
from infobip_exporter.reload import Reloads
from infobip_exporter.signals import SIGNALS
from infobip_sandbox import demo

ROOT = Path(__file__).parents[1]
Calls = list[tuple[object, ...]]
RunAs = Callable[[Callable[[], int]], None]
SOUND = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: 0123456789}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a sound config.yaml in it."""
    (tmp_path / "config.yaml").write_text(SOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The commands that were run, with what they were given; each exits with 7."""
    calls: Calls = []

    def command(name: str) -> object:
        def called(*arguments: object, **flags: object) -> int:
            calls.append((name, *arguments, *flags.items()))
            return 7

        return called

    for module, name in ((app, "run"), (check_module, "check"), (demo, "demo"), (state_command, "state")):
        monkeypatch.setattr(module, name, command(name))
    return calls


@pytest.fixture
def run_as(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunAs:
    """Have `run` do this in place of the exporter."""
    return lambda run: monkeypatch.setattr(app, "run", lambda *_, **__: run())


def config_of(call: tuple[object, ...]) -> Config:
    assert isinstance(call[1], Config)
    return call[1]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [([], "run"), (["run"], "run"), (["check"], "check"), (["--log.level=warn", "check"], "check")],
)
def test_commands_get_the_config_and_give_the_exit_code(
    ran: Calls, arguments: list[str], command: str
) -> None:
    assert cli.main(arguments) == 7
    assert [call[0] for call in ran] == [command]
    assert config_of(ran[0]).accounts[0].name == "main"


def test_flags_override_the_file(ran: Calls, folder: Path) -> None:
    (folder / "other.yaml").write_text(
        SOUND + "web: {listen_address: ':1'}\nlog: {level: error, format: json}"
    )
    (folder / "web.yml").touch()
    flags = ["--config.file", "other.yaml", "--web.listen-address=[::1]:9", "--web.config.file=web.yml"]
    cli.main([*flags, "--log.level", "debug", "--web.listen-address", "unix:/run/x.sock"])
    config = config_of(ran[0])
    assert config.web.listen_address == ("[::1]:9", "unix:/run/x.sock")
    assert config.web.config_file is not None
    assert config.web.config_file.samefile(folder / "web.yml")
    assert config.log == Log("debug", "json")


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["state"], (None, "", "text")),
        (["--config.file=config.yaml", "state", "--state.format=json", "check"], ("check", "", "json")),
        (["state", "backup", "--state.format", "json", "x.db"], ("backup", "x.db", "json")),
        (["state", "copy", "sqlite:///x.db"], ("copy", "sqlite:///x.db", "text")),
    ],
)
def test_state_gets_the_url_of_the_config_and_what_to_do(
    ran: Calls, arguments: list[str], given: tuple[str | None, str, str]
) -> None:
    assert cli.main(arguments) == 7
    assert ran == [("state", State("sqlite:///infobip-exporter.db"), *given)]


def test_state_with_its_url_needs_no_config(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.yaml").unlink()
    assert cli.main(["state", "--state.url=sqlite:///x.db"]) == 2
    assert capsys.readouterr().err == "state x.db: no such file, nothing has been counted there yet\n"


def test_state_needs_no_keys_and_no_files_that_the_configuration_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = (
        "{name: main, base_url: https://x.api.infobip.com, api_key_file: '${CREDENTIALS_DIRECTORY}/key'}"
    )
    (folder / "config.yaml").write_text(
        f"accounts: [{account}]\nweb: {{config_file: gone.yml}}\nstate: {{url: 'sqlite:///kept.db'}}\n"
    )
    assert cli.main(["state"]) == 2
    assert capsys.readouterr().err.startswith("state kept.db: no such file")


def test_state_tells_what_is_wrong_with_its_own_section(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text("state: {url: '${GONE}'}\n")
    assert cli.main(["state"]) == 2
    assert capsys.readouterr().err == "config.yaml:1: state.url: the environment variable GONE is not set\n"


def test_run_can_read_the_config_anew_with_the_same_flags_over_it(ran: Calls, folder: Path) -> None:
    cli.main(["--web.listen-address=:1", "--web.enable-lifecycle"])
    _, _, reloads, lifecycle = ran[0]
    assert lifecycle == ("lifecycle", True)
    (folder / "config.yaml").write_text(SOUND.replace("main", "other"))
    assert isinstance(reloads, Reloads)
    SIGNALS.reload_wanted = True
    read: list[Config] = []

    async def change_to(config: Config) -> None:
        read.append(config)

    asyncio.run(reloads.serve(Reloaded(successful=True, success_s=0.0), change_to))
    [config] = read
    assert (config.accounts[0].name, config.web.listen_address) == ("other", (":1",))
    cli.main([])
    assert ran[1][3] == ("lifecycle", False)


def test_demo_needs_no_file(ran: Calls, folder: Path) -> None:
    (folder / "config.yaml").unlink()
    assert cli.main(["demo"]) == 7
    assert cli.main(["demo", "--web.listen-address=:1", "--log.format=console"]) == 7
    assert ran == [("demo", None, Log()), ("demo", ":1", Log(format="console"))]


def test_demo_logs_as_its_flags_say(ran: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["demo", "--log.format=json"])
    structlog.get_logger().info("hello")
    logs.flush()
    assert capsys.readouterr().err.endswith('"level": "info", "msg": "hello"}\n')


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--log.level=loud", 'argument --log.level: must be one of debug, info, warn, error, got "loud"'),
        ("--config.file=", "argument --config.file: must name a file"),
        ("--log.level=info --log.level=info", "argument --log.level: is given twice"),
        ("--log.lev=info", "unrecognized arguments: --log.lev=info"),
        ("run --state.format=json", "unrecognized arguments: --state.format=json"),
        ("chek", "argument COMMAND: invalid choice: "),
        # Behind a command, its own help is named.
        ("--log.level=info run --log.level=warn", "run: argument --log.level: is given twice"),
        (
            "--web.listen-address=:1 run --web.listen-address=:2 --web.listen-address=:1",
            'run: argument --web.listen-address: is given twice, got ":1"',
        ),
        ("state chek", "state: argument COMMAND: invalid choice: "),
        (
            "state copy postgresql://u:hush%zz@h/d",
            "state copy: argument URL: must be a PostgreSQL URL, such as "
            "postgresql://user@host:5432/database?sslmode=verify-full",
        ),
    ],
)
def test_wrong_usage_is_told_in_a_line(
    ran: Calls, capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    assert cli.main(arguments.split()) == 2
    out, err = capsys.readouterr()
    program = err.partition(":")[0]
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith((f"{program}: {told}", f"infobip-exporter {told}"))
    assert err.endswith(f"; see {program} --help\n")
    assert ran == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "--config.file=x --state.url=sqlite:///x.db demo",
            "--config.file: demo has no such flag\n--state.url: demo has no such flag",
        ),
        (
            "demo --web.listen-address=:1 --web.listen-address=:2",
            "--web.listen-address: demo listens on one address",
        ),
        (
            "demo --web.listen-address=unix:/run/demo.sock",
            "--web.listen-address: demo needs host:port or :port, to be looked at",
        ),
        (
            "--config.file=no.yaml",
            "no.yaml: there is no such file; copy config.example.yaml, or name another with --config.file",
        ),
        ("check --web.config.file=no.yml", "no.yml: can't be read: No such file or directory"),
    ],
)
def test_flags_that_do_not_fit_are_told_in_a_line_each(
    ran: Calls, capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    assert cli.main(arguments.split()) == 2
    assert capsys.readouterr() == ("", f"{told}\n")
    assert ran == []


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (LedgerError("the state is in use by process 5"), 2, "the state is in use by process 5\n"),
        (ListenError("port 10470 is taken"), 2, "port 10470 is taken\n"),
        (ExporterError("no way on"), 1, "no way on\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_an_error_of_a_command_is_a_line_and_an_exit_code(
    run_as: RunAs, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    def run() -> int:
        raise error

    run_as(run)
    stdout = os.dup(1)
    try:
        assert cli.main(["--log.level=error"]) == code
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert capfd.readouterr().err == told


def test_an_error_of_a_command_is_the_last_line_after_all_that_was_logged(
    run_as: RunAs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        raise ExporterError("no way on")

    run_as(run)
    monkeypatch.setattr(logs, "flush", lambda: print("all that was logged", file=sys.stderr))
    assert cli.main([]) == 1
    assert capsys.readouterr().err == "all that was logged\nno way on\n"


def test_what_is_hardly_meant_is_warned_of(
    ran: Calls, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(SOUND.replace("}]", ", requests_per_minute: 200}]"))
    told = "account main: requests_per_minute is 200, but the API allows 120: expect refusals (429)"
    cli.main(["check"])
    assert capsys.readouterr().out == f"warn  {told}\n"
    cli.main(["run"])
    logs.flush()
    assert f'level=warn msg="{told}"' in capsys.readouterr().err


def test_keys_are_kept_out_of_the_log_lines(run_as: RunAs, capsys: pytest.CaptureFixture[str]) -> None:
    run_as(lambda: structlog.get_logger().info("the key is 0123456789") or 0)
    assert cli.main([]) == 0
    logs.flush()
    assert 'msg="the key is <secret>"' in capsys.readouterr().err


def test_help_fits_a_screen_and_names_every_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 23  # of 24: the prompt takes one
    assert max(map(len, lines)) <= 80
    for flag in (*FLAGS_OF["run"], "version"):
        assert f"  --{flag}" in text
    for command in FLAGS_OF:
        assert f"    {command}  " in text


# As processes: what a shell sees.


def exporter(
    *arguments: str, cwd: Path, program: tuple[str, ...] = (str(ROOT / "exporter.py"),)
) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", [(str(ROOT / "exporter.py"),), ("-m", "infobip_exporter")])
def test_the_version(tmp_path: Path, program: tuple[str, ...]) -> None:
    code, out, err = exporter("--version", cwd=tmp_path, program=program)
    version = ".".join(map(str, sys.version_info[:3]))
    assert (code, err) == (0, "")
    assert out == f"infobip-exporter {infobip_exporter.__version__} (Python {version})\n"


def test_a_wrong_config_is_two_lines_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SOUND.replace("https", "http") + "pol: {}")
    assert exporter("check", cwd=tmp_path) == (
        2,
        "",
        "config.yaml:1: accounts[0].base_url: must be an https:// URL (plain http only on loopback), "
        'got "http://x.api.infobip.com"\n'
        'config.yaml:2: pol: unknown key; did you mean "poll"?\n',
    )


def test_ctrl_c_ends_a_check_at_once_though_a_question_hangs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        base_url = f'"http://127.0.0.1:{silent.getsockname()[1]}"'
        config = SOUND.replace("https://x.api.infobip.com", base_url) + "poll: {timeout: 5m}"
        (tmp_path / "config.yaml").write_text(config)
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "exporter.py"), "check"], cwd=tmp_path, stderr=subprocess.PIPE
        )
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 130


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "exporter.py"), "--help"],
            env=buffered, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
