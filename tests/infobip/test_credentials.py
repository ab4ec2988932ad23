import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infobip_exporter.config.schema import Account
from infobip_exporter.infobip.credentials import CredentialsError, GivenKey, KeyFile, credentials_of
from infobip_exporter.model.secret import Secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("first-key\n")
    return path


def replace(path: Path, text: str, mtime_ns: int) -> None:
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))


def test_a_given_key_is_given_without_the_space_around_it() -> None:
    assert GivenKey(Secret(" abc-123 \n")).key() == Secret("abc-123")


def test_a_key_file_is_read_without_the_space_around_it(path: Path) -> None:
    path.write_text("\n  first-key \r\n")
    assert KeyFile(path).key() == Secret("first-key")


def test_a_byte_order_mark_at_the_beginning_of_a_key_file_is_no_part_of_the_key(path: Path) -> None:
    path.write_text("first-key\r\n", "utf-8-sig")
    assert KeyFile(path).key() == Secret("first-key")


@pytest.mark.parametrize("text", ['"first-key"', "'first-key'\n"])
def test_a_key_file_with_quotes_says_so(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CredentialsError, match=r"key: must be the key alone, without the quotes around it"):
        KeyFile(path).key()


def test_a_changed_file_is_read_again(path: Path) -> None:
    credentials = KeyFile(path)
    credentials.key()
    replace(path, "other-key", mtime_ns=10**18)
    assert credentials.key() == Secret("other-key")


def test_a_file_of_another_size_is_read_again_though_its_time_stands_still(path: Path) -> None:
    replace(path, "first-key", mtime_ns=10**18)
    credentials = KeyFile(path)
    credentials.key()
    replace(path, "a-longer-key", mtime_ns=10**18)
    assert credentials.key() == Secret("a-longer-key")


def test_a_file_put_in_place_of_the_other_is_read_though_time_and_size_are_the_same(path: Path) -> None:
    replace(path, "first-key", mtime_ns=10**18)
    credentials = KeyFile(path)
    credentials.key()
    other = path.with_name("other")
    replace(other, "other-key", mtime_ns=10**18)
    other.replace(path)
    assert credentials.key() == Secret("other-key")


def test_an_unchanged_file_is_not_opened_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = KeyFile(path)
    credentials.key()
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert credentials.key() == Secret("first-key")


def test_a_file_that_changed_since_the_last_look_may_hold_another_key(path: Path) -> None:
    credentials = KeyFile(path)
    credentials.key()
    credentials.refused()
    assert not credentials.renewed()
    replace(path, "two keys", mtime_ns=10**18)
    assert credentials.renewed()
    credentials.key()
    assert not credentials.renewed()  # looked at, though it was of no use
    path.unlink()
    assert not credentials.renewed()
    credentials.key()
    replace(path, "other-key", mtime_ns=10**18)
    assert credentials.renewed()
    assert credentials.key() == Secret("other-key")
    assert not credentials.renewed()


def test_a_file_that_was_not_there_and_is_may_hold_a_key(path: Path) -> None:
    path.unlink()
    credentials = KeyFile(path)
    with pytest.raises(CredentialsError):
        credentials.key()
    assert not credentials.renewed()
    path.write_text("first-key")
    assert credentials.renewed()


def test_a_given_key_is_never_another() -> None:
    assert not GivenKey(Secret("first-key")).renewed()


def test_after_a_refusal_the_file_is_read_even_if_nothing_tells_that_it_changed(path: Path) -> None:
    replace(path, "first-key", mtime_ns=10**18)
    credentials = KeyFile(path)
    credentials.key()
    replace(path, "other-key", mtime_ns=10**18)
    assert credentials.key() == Secret("first-key")
    credentials.refused()
    assert credentials.key() == Secret("other-key")


def test_the_last_key_stays_in_use_while_the_file_is_gone_or_empty_and_that_is_said_once(path: Path) -> None:
    credentials = KeyFile(path)
    credentials.key()
    with capture_logs() as logs:
        path.unlink()
        assert credentials.key() == credentials.key() == Secret("first-key")
        path.write_text("")
        assert credentials.key() == Secret("first-key")
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "No such file" in logs[0]["error"]


def test_a_second_trouble_with_the_file_is_said_again(path: Path) -> None:
    credentials = KeyFile(path)
    credentials.key()
    with capture_logs() as logs:
        for text in ("second-key", "third-key-x"):
            path.unlink()
            credentials.key()
            path.write_text(text)
            assert credentials.key() == Secret(text)
    assert len(logs) == 2


@pytest.mark.parametrize("text", ["", " \n", "two words", "two\nlines", "kéy", "a\x00b", "x" * 9000])
def test_what_can_be_no_key_is_refused_without_being_shown(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(CredentialsError) as failure:
        KeyFile(path).key()
    assert str(path) in str(failure.value)
    assert not text.strip() or text not in str(failure.value)


def test_a_given_value_that_can_be_no_key_is_refused_when_it_is_needed() -> None:
    credentials = GivenKey(Secret("two words"))
    with pytest.raises(CredentialsError, match="api_key: holds more than a key"):
        credentials.key()


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"api_key_file .*nowhere: No such file"):
        KeyFile(tmp_path / "nowhere").key()


def test_a_directory_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="Is a directory"):
        KeyFile(tmp_path).key()


def test_an_account_has_the_key_it_is_configured_with(path: Path) -> None:
    url = "https://x.api.infobip.com"
    assert credentials_of(Account("main", url, api_key=Secret("abc"))).key() == Secret("abc")
    assert credentials_of(Account("main", url, api_key_file=path)).key() == Secret("first-key")


def test_the_key_is_not_in_the_repr(path: Path) -> None:
    credentials = KeyFile(path)
    assert "first-key" not in repr((credentials, credentials.key(), vars(credentials)))
