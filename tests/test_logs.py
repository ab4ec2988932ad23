import io
import json
import logging

import pytest
import structlog
from freezegun import freeze_time

from infobip_exporter import logs
from infobip_exporter.config.schema import Log
from infobip_exporter.model.secret import Secret

AT_TEN = freeze_time("2026-11-24T22:00:00.123456Z")
SECRET = 'abcdef"12345'


def configured(form: str = "logfmt", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Log(level, form), stream, [Secret(SECRET), Secret("a")])
    return stream


def text_of(stream: io.StringIO) -> str:
    logs.flush()
    return stream.getvalue()


@AT_TEN
def test_logfmt_has_time_level_and_message_first_as_prometheus_does() -> None:
    stream = configured()
    structlog.get_logger(account="main").info("polled", found=3, cost=1.5, more=True, error=None, empty="")
    line = 'ts=2026-11-24T22:00:00.123Z level=info msg=polled account=main found=3 cost=1.5 more=true error=null empty=""\n'
    assert text_of(stream) == line


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain/é:1", "plain/é:1"),
        ("two words", '"two words"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("a\\nb", '"a\\\\nb"'),
        ("x\nts=1 level=error", '"x\\nts=1 level=error"'),
        ("\x1b[31m\r\u2028\x85", '"\\u001b[31m\\r\\u2028\\u0085"'),
        (ValueError("no such"), '"no such"'),
    ],
)
def test_no_value_breaks_out_of_its_logfmt_pair(value: object, written: str) -> None:
    stream = configured()
    structlog.get_logger().info("x", value=value)
    assert text_of(stream).split("msg=x value=")[1] == written + "\n"


@AT_TEN
def test_json_has_the_same_keys() -> None:
    stream = configured("json")
    structlog.get_logger().warning("the log\nis refused", status=401, error=ValueError("é"))
    assert text_of(stream).count("\n") == 1
    assert json.loads(text_of(stream)) == {
        "ts": "2026-11-24T22:00:00.123Z",
        "level": "warn",
        "msg": "the log\nis refused",
        "status": 401,
        "error": "é",
    }


@AT_TEN
def test_the_console_is_for_eyes_and_coloured_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = configured("console")
    structlog.get_logger().error("no\x1b[2J", why="a\nb")
    line = text_of(stream)
    assert line.startswith("2026-11-24T22:00:00.123Z [error")
    assert "\x1b" not in line
    assert line.count("\n") == 1

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in written_to_a_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written_to_a_terminal()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written_to_a_terminal() -> str:
    stream = Terminal()
    logs.configure(Log(format="console"), stream)
    structlog.get_logger().error("no")
    return text_of(stream)


LEVELS = ["debug", "info", "warn", "error"]


@pytest.mark.parametrize(("level", "seen"), [(level, LEVELS[i:]) for i, level in enumerate(LEVELS)])
def test_lines_below_the_level_are_left_out(level: str, seen: list[str]) -> None:
    stream = configured("json", level)
    log = structlog.get_logger()
    log.debug("x")
    log.info("x")
    log.warning("x")
    log.error("x")
    assert [json.loads(line)["level"] for line in text_of(stream).splitlines()] == seen


@AT_TEN
def test_a_value_can_not_pose_as_time_level_or_message() -> None:
    stream = configured()
    structlog.get_logger().info("x", level="error", ts=0, msg="y")
    assert text_of(stream) == "ts=2026-11-24T22:00:00.123Z level=info msg=x\n"


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
def test_an_exception_is_logged_without_its_variables(form: str) -> None:
    stream = configured(form)
    try:
        local = "a local variable"[:5]
        raise RuntimeError("boom")
    except RuntimeError:
        structlog.get_logger().exception("it broke")
    text = text_of(stream)
    assert "RuntimeError: boom" in text
    assert "a loc\n" not in text
    assert f"= {local!r}" not in text
    assert (text.count("\n") == 1) == (form != "console")


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
def test_a_secret_is_blanked_wherever_it_stands(form: str) -> None:
    stream = configured(form)
    structlog.get_logger().info(
        f"key {SECRET}", key=SECRET, nested=[{"key": SECRET}], error=ValueError(SECRET)
    )
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        structlog.get_logger().exception("it broke")
    assert "12345" not in text_of(stream)
    assert "<secret>" in text_of(stream)


@AT_TEN
def test_what_other_libraries_log_goes_the_same_way_from_warnings_up() -> None:
    stream = configured("logfmt", "debug")
    logging.getLogger("some.library").warning("bad request from %s", "a\nb")
    logging.getLogger("httpx").info("GET https://...")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("asyncio").exception("lost")
    lines = text_of(stream).splitlines()
    assert lines[0] == (
        'ts=2026-11-24T22:00:00.123Z level=warn msg="bad request from a\\nb" logger=some.library'
    )
    assert lines[1].startswith("ts=2026-11-24T22:00:00.123Z level=error msg=lost logger=asyncio exception=")
    assert "RuntimeError: boom" in lines[1]
    assert len(lines) == 2


@AT_TEN
def test_stderr_is_where_lines_go_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log())
    structlog.get_logger().info("hello")
    logs.flush()
    assert capsys.readouterr() == ("", "ts=2026-11-24T22:00:00.123Z level=info msg=hello\n")
