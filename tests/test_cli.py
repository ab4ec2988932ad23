import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

import infobip_exporter
from infobip_exporter import app, cli, logs, state_command
from infobip_exporter import check as check_module
from infobip_exporter.config.schema import Config, Log, State
from infobip_exporter.errors import ExporterError, LedgerError, ListenError
from infobip_exporter.metrics.snapshot import Reloaded
from infobip_exporter.reload import Reloads
from infobip_sandbox import demo

ROOT = Path(__file__).parents[1]
SOUND = "accounts: [{name: main, base_url: https://x.api.infobip.com, api_key: 0123456789}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a sound config.yaml in it."""
    (tmp_path / "config.yaml").write_text(SOUND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The commands that were run, with what they were given; each exits with 7."""
    calls: list[tuple[object, ...]] = []

    def command(name: str) -> object:
        def called(*arguments: object, **flags: object) -> int:
            calls.append((name, *arguments, *flags.items()))
            return 7

        return called

    monkeypatch.setattr(app, "run", command("run"))
    monkeypatch.setattr(check_module, "check", command("check"))
    monkeypatch.setattr(demo, "demo", command("demo"))
    return calls


def config_of(call: tuple[object, ...]) -> Config:
    assert isinstance(call[1], Config)
    return call[1]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [([], "run"), (["run"], "run"), (["check"], "check"), (["--log.level=warn", "check"], "check")],
)
def test_commands_get_the_config_and_give_the_exit_code(
    ran: list[tuple[object, ...]], arguments: list[str], command: str
) -> None:
    assert cli.main(arguments) == 7
    assert [call[0] for call in ran] == [command]
    assert config_of(ran[0]).accounts[0].name == "main"


def test_flags_override_the_file(ran: list[tuple[object, ...]], folder: Path) -> None:
    (folder / "other.yaml").write_text(
        SOUND + "web: {listen_address: ':1'}\nlog: {level: error, format: json}"
    )
    (folder / "web.yml").touch()
    flags = ["--config.file", "other.yaml", "--web.listen-address=[::1]:9", "--web.config.file=web.yml"]
    cli.main([*flags, "--log.level", "debug"])
    config = config_of(ran[0])
    assert config.web.listen_address == ("[::1]:9",)
    assert config.web.config_file is not None
    assert config.web.config_file.samefile(folder / "web.yml")
    assert config.log == Log("debug", "json")


def test_the_address_to_listen_on_may_be_given_several_times(
    ran: list[tuple[object, ...]], folder: Path
) -> None:
    (folder / "config.yaml").write_text(SOUND + "web: {listen_address: ':3'}")
    cli.main(["--web.listen-address=:1", "--web.listen-address", "unix:/run/x.sock"])
    assert config_of(ran[0]).web.listen_address == (":1", "unix:/run/x.sock")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["state"], []),
        (["--state.format=json", "state", "--log.level=warn", "check"], ["check"]),
        (["state", "backup", "--state.format", "json", "x.db"], ["backup", "x.db"]),
    ],
)
def test_state_gets_the_url_of_the_config_and_the_words_behind_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    calls: list[tuple[object, ...]] = []

    def state(*given: object) -> int:
        calls.append(given)
        return 7

    monkeypatch.setattr(state_command, "state", state)
    assert cli.main(arguments) == 7
    style = "json" if len(arguments) > 1 else "text"
    assert calls == [(State("sqlite:///infobip-exporter.db"), words, style)]


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


def test_state_tells_what_is_wrong_with_its_own_section_and_with_the_flags(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text("state: {url: '${GONE}'}\n")
    assert cli.main(["state", "--state.format=xml"]) == 2
    assert capsys.readouterr().err == (
        "config.yaml:1: state.url: the environment variable GONE is not set\n"
        '--state.format: must be one of text, json, got "xml"\n'
    )


def test_run_can_read_the_config_anew_with_the_same_flags_over_it(
    ran: list[tuple[object, ...]], folder: Path
) -> None:
    cli.main(["--web.listen-address=:1", "--web.enable-lifecycle"])
    _, _, reloads, lifecycle = ran[0]
    assert lifecycle == ("lifecycle", True)
    (folder / "config.yaml").write_text(SOUND.replace("main", "other"))
    assert isinstance(reloads, Reloads)
    reloads.wanted = True
    read: list[Config] = []

    async def change_to(config: Config) -> None:
        read.append(config)

    asyncio.run(reloads.serve(Reloaded(successful=True, success_s=0.0), change_to))
    [config] = read
    assert (config.accounts[0].name, config.web.listen_address) == ("other", (":1",))
    cli.main([])
    assert ran[1][3] == ("lifecycle", False)


def test_demo_needs_no_file(ran: list[tuple[object, ...]], folder: Path) -> None:
    (folder / "config.yaml").unlink()
    assert cli.main(["demo"]) == 7
    assert cli.main(["demo", "--web.listen-address=:1", "--log.format=console"]) == 7
    assert ran == [("demo", None, Log()), ("demo", ":1", Log(format="console"))]


def test_demo_logs_as_its_flags_say(
    ran: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["demo", "--log.format=json"])
    structlog.get_logger().info("hello")
    logs.flush()
    assert capsys.readouterr().err.endswith('"level": "info", "msg": "hello"}\n')


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--log.level=loud"], '--log.level: must be one of debug, info, warn, error, got "loud"\n'),
        (["--log.format="], '--log.format: must be one of logfmt, json, console, got ""\n'),
        (
            ["--web.listen-address", "10470"],
            "--web.listen-address: must be host:port, :port or [IPv6]:port with a port from 0 to 65535, "
            'such as 0.0.0.0:10470, or unix: and the path of a socket, got "10470"\n',
        ),
        (
            ["demo", "--web.listen-address=unix:/run/demo.sock"],
            "--web.listen-address: demo needs host:port or :port, to be looked at\n",
        ),
        (
            ["--config.file=no.yaml", "--log.level=loud"],
            "no.yaml: there is no such file; copy config.example.yaml, or name another with --config.file\n"
            '--log.level: must be one of debug, info, warn, error, got "loud"\n',
        ),
        (
            ["demo", "--config.file=config.yaml", "--web.config.file=x", "--log.level=loud"],
            "--config.file: demo takes no configuration\n--web.config.file: demo takes no configuration\n"
            '--log.level: must be one of debug, info, warn, error, got "loud"\n',
        ),
        (
            ["--config.file=", "--log.level=loud"],
            "--config.file: must name a file\n"
            '--log.level: must be one of debug, info, warn, error, got "loud"\n',
        ),
        (
            ["--web.listen-address=:1", "--web.listen-address=x", "--web.listen-address=:1"],
            "--web.listen-address: must be host:port, :port or [IPv6]:port with a port from 0 to 65535, "
            'such as 0.0.0.0:10470, or unix: and the path of a socket, got "x"\n'
            '--web.listen-address: is given twice, got ":1"\n',
        ),
        (
            ["demo", "--web.listen-address=:1", "--web.listen-address=:2"],
            "--web.listen-address: demo listens on one address\n",
        ),
        (
            ["--log.level=info", "--log.level=warn"],
            "infobip-exporter: argument --log.level: is given twice; {help}\n",
        ),
        (["--config.file"], "infobip-exporter: argument --config.file: expected one argument; {help}\n"),
        (["--log.lev=info"], "infobip-exporter: unrecognized arguments: --log.lev=info; {help}\n"),
        (["state", "--no"], "infobip-exporter: unrecognized arguments: --no; {help}\n"),
        (["run", "--state.format=json"], "--state.format: belongs to state; the logs have --log.format\n"),
        (
            ["state", "--state.format=xml", "--state.url=x"],
            '--state.format: must be one of text, json, got "xml"\n'
            "--state.url: must be sqlite:/// and a file, such as sqlite:///infobip-exporter.db, "
            'or with four slashes an absolute one, such as sqlite:////var/lib/infobip-exporter/state.db, or a postgresql:// URL, got "x"\n',
        ),
        (["run", "--replicas"], "--replicas: belongs to demo; replicas are exporters with one state.url\n"),
        (["state", "chek"], "state chek: must be state [check | backup FILE | copy URL]\n"),
        (["run", "check"], "infobip-exporter: unrecognized arguments: check; {help}\n"),
    ],
)
def test_wrong_usage_is_told_in_a_line_each(
    ran: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr() == ("", told.replace("{help}", "see infobip-exporter --help"))
    assert ran == []


def test_an_unknown_command_is_told_in_a_line(
    ran: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["chek"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("infobip-exporter: argument command: invalid choice: 'chek' (choose from ")
    assert told.count("\n") == 1


def test_a_web_config_flag_must_name_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--web.config.file=no.yml"]) == 2
    told = f'--web.config.file: must be an existing file (relative paths start at {folder}), got "no.yml"\n'
    assert capsys.readouterr().err == told


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
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    def run(_: Config, *_others: object, **_flags: object) -> int:
        raise error

    monkeypatch.setattr(app, "run", run)
    stdout = os.dup(1)
    try:
        assert cli.main(["--log.level=error"]) == code
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert capfd.readouterr().err == told


def test_what_is_hardly_meant_is_warned_of(
    ran: list[tuple[object, ...]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(SOUND.replace("}]", ", requests_per_minute: 200}]"))
    told = "account main: requests_per_minute is 200, but the API allows 120: expect refusals (429)"
    cli.main(["check"])
    assert capsys.readouterr().out == f"warn  {told}\n"
    cli.main(["run"])
    logs.flush()
    assert f'level=warn msg="{told}"' in capsys.readouterr().err


def test_a_hang_up_while_the_configuration_is_read_is_not_the_end_and_reads_it_once_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_config(*arguments: Any) -> Config:
        os.kill(os.getpid(), signal.SIGHUP)
        return real(*arguments)

    def run(_: Config, reloads: Reloads, **_flags: object) -> int:
        return 3 if reloads.wanted else 4

    real = cli.load_config
    monkeypatch.setattr(cli, "load_config", load_config)
    monkeypatch.setattr(app, "run", run)
    assert cli.main([]) == 3


def test_keys_are_kept_out_of_the_log_lines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Config, *_others: object, **_flags: object) -> int:
        structlog.get_logger().info("the key is 0123456789")
        return 0

    monkeypatch.setattr(app, "run", run)
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
    for flag in (
        "config.file",
        "web.listen-address",
        "web.config.file",
        "log.level",
        "log.format",
        "version",
        "help",
    ):
        assert f"  --{flag}" in text


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


def test_without_a_config_there_is_a_line_and_no_traceback(tmp_path: Path) -> None:
    told = (
        "config.yaml: there is no such file; copy config.example.yaml, or name another with --config.file\n"
    )
    assert exporter(cwd=tmp_path) == (2, "", told)


def test_a_wrong_config_is_two_lines_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SOUND.replace("https", "http") + "pol: {}")
    assert exporter("check", cwd=tmp_path) == (
        2,
        "",
        "config.yaml:1: accounts[0].base_url: must be an https:// URL (plain http only on loopback), "
        'got "http://x.api.infobip.com"\n'
        'config.yaml:2: pol: unknown key; did you mean "poll"?\n',
    )


def test_check_says_what_failed_and_exits_1(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SOUND.replace("https://x.api.infobip.com", '"http://127.0.0.1:1"'))
    code, out, err = exporter("check", cwd=tmp_path)
    assert (code, err) == (1, "")
    assert out.startswith("FAIL  main/instagram: connection: ")
    assert out.count("\n") == 1


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
