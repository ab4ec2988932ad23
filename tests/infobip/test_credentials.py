import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infobip_exporter.config import rules
from infobip_exporter.infobip.credentials import (
    CredentialsError,
    HeaderCredentials,
    SecretFile,
    api_key,
    authorization,
    basic_auth,
    fixed,
)
from infobip_exporter.model.secret import Secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("first-key\n")
    return path


def file_of(path: Path) -> SecretFile:
    return SecretFile(path, "api_key_file", rules.api_key)


def replace(path: Path, text: str, mtime_ns: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_a_key_file_is_read_without_the_space_around_it(path: Path) -> None:
    path.write_text("\n  first-key \r\n")
    assert file_of(path)().reveal() == "first-key"


def test_a_byte_order_mark_at_the_beginning_of_a_key_file_is_no_part_of_the_key(path: Path) -> None:
    path.write_text("first-key\r\n", "utf-8-sig")
    assert file_of(path)().reveal() == "first-key"


@pytest.mark.parametrize("text", ['"first-key"', "'first-key'\n"])
def test_a_key_file_with_quotes_says_so(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CredentialsError, match=r"key: must be the key alone, without the quotes around it"):
        file_of(path)()


def test_a_changed_file_is_read_again_though_nothing_but_its_content_tells_that_it_changed(
    path: Path,
) -> None:
    replace(path, "first-key", mtime_ns=10**18)
    source = file_of(path)
    source()
    replace(path, "other-key", mtime_ns=10**18)
    assert source().reveal() == "other-key"


def test_a_file_that_holds_another_key_than_the_refused_one_is_told(path: Path) -> None:
    credentials = api_key(file_of(path))
    refused = credentials.header()
    credentials.refused(refused)
    assert not credentials.renewed(refused)
    replace(path, "two keys", mtime_ns=10**18)
    assert not credentials.renewed(refused)
    path.unlink()
    assert not credentials.renewed(refused)
    replace(path, "other-key", mtime_ns=10**18)
    assert credentials.renewed(refused)
    assert credentials.header() == Secret("App other-key")


def test_a_file_that_was_not_there_and_is_may_hold_a_key(path: Path) -> None:
    path.unlink()
    credentials = api_key(file_of(path))
    with pytest.raises(CredentialsError):
        credentials.header()
    assert not credentials.renewed(None)
    path.write_text("first-key")
    assert credentials.renewed(None)


def test_a_given_key_is_never_another() -> None:
    credentials = api_key(fixed(Secret("first-key")))
    assert not credentials.renewed(credentials.header())


def test_the_last_key_stays_in_use_while_the_file_is_gone_or_empty_and_that_is_said_once(path: Path) -> None:
    source = file_of(path)
    source()
    with capture_logs() as logs:
        path.unlink()
        assert source() == source() == Secret("first-key")
        path.write_text("")
        assert source().reveal() == "first-key"
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "No such file" in logs[0]["error"]


def test_a_second_trouble_with_the_file_is_said_again(path: Path) -> None:
    source = file_of(path)
    source()
    with capture_logs() as logs:
        for text in ("second-key", "third-key-x"):
            path.unlink()
            source()
            path.write_text(text)
            assert source().reveal() == text
    assert len([line for line in logs if line["event"].startswith("the key file can't be read")]) == 2


@pytest.mark.parametrize("text", ["", " \n", "two words", "two\nlines", "kéy", "a\x00b", "x" * 9000])
def test_what_can_be_no_key_is_refused_without_being_shown(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CredentialsError) as failure:
        file_of(path)()
    assert str(path) in str(failure.value)
    assert not text.strip() or text not in str(failure.value)


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"api_key_file .*nowhere: No such file"):
        file_of(tmp_path / "nowhere")()


def test_a_directory_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="Is a directory"):
        file_of(tmp_path)()


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (api_key(fixed(Secret("k"))), "App k"),
        (basic_auth("Aladdin", fixed(Secret("open sesame"))), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (basic_auth("é", fixed(Secret("ß"))), "Basic w6k6w58="),
        (authorization("IBSSO", fixed(Secret("t"))), "IBSSO t"),
    ],
)
def test_each_kind_has_its_header(credentials: HeaderCredentials, header: str) -> None:
    assert credentials.header() == Secret(header)
    assert header.split(" ")[1] in credentials.unspeakable()


def test_a_refused_session_is_told_as_ended_and_other_credentials_as_wrong() -> None:
    assert authorization("ibsso", fixed(Secret("t"))).refusal.startswith("the session has ended")
    assert authorization("Bearer", fixed(Secret("t"))).refusal.startswith("the credentials are wrong")


def test_the_key_is_not_in_the_repr(path: Path) -> None:
    source = file_of(path)
    source()
    assert "first-key" not in repr((source, vars(source), vars(api_key(source))))
