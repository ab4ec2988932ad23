import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infobip_exporter.infobip.refusal import LONGEST_TEXT, describe_refusal, log_hint

NEWER = {
    "errorCode": "E401",
    "description": "The request lacks valid authentication credentials.",
    "action": "Check the credentials.",
    "violations": [{"property": "to", "violation": "385916242493"}],
    "resources": [],
}
OLDER = {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED", "text": "Invalid login details"}}}


def told(status: int, body: Any, *, channel: str = "instagram", secrets: tuple[str, ...] = ()) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return describe_refusal(
        status, content, log_hint(status, channel, "the API key is wrong or no longer valid"), secrets
    )


def test_the_newer_error_body_is_understood() -> None:
    text = told(401, NEWER)
    assert text.startswith(
        "E401 The request lacks valid authentication credentials. Check the credentials; the API key is wrong"
    )
    assert "385916242493" not in text


def test_the_older_error_body_is_understood() -> None:
    assert told(401, OLDER).startswith("UNAUTHORIZED: Invalid login details; the API key is wrong")


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "filters"),
        (401, "the API key is wrong"),
        (403, "lack the scope instagram:logs:read"),
        (404, "base_url looks wrong"),
        (302, "does not redirect: base_url looks wrong"),
        (407, "proxy"),
        (429, "more requests than it may"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, hint: str) -> None:
    assert hint in told(status, {})


def test_a_403_names_the_channels_own_scope() -> None:
    assert "viber-bot:logs:read" in told(403, {}, channel="viber-bot")


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (500, b"", "Internal Server Error"),
        (502, b"<html><TITLE>\n Bad gateway </title>", 'an HTML page "Bad gateway"'),
        (502, b"  <html>", "an HTML page"),
        (500, b"upstream died", "upstream died"),
        (500, b"null", "Internal Server Error"),
        (500, b"[1]", "Internal Server Error"),
        (500, b'{"errorCode": true, "description": null, "action": []}', "Internal Server Error"),
        (500, b'{"requestError": "x"}', "Internal Server Error"),
        (500, b'{"requestError": {"policyException": {"text": "no"}}}', "no"),
        (500, b'{"description": "only that"}', "only that"),
        (500, b'{"error": "invalid_client", "error_description": "no"}', "invalid_client: no"),
        (599, b"", "an unknown status"),
        (500, b"[" * 100_000, "[" * 180),
    ],
)
def test_any_other_body_is_told_as_far_as_it_can_be(status: int, body: bytes, text: str) -> None:
    assert told(status, body) == text


def test_long_texts_leave_room_for_what_to_do() -> None:
    text = told(401, {"description": "x" * 10_000})
    assert len(text) <= LONGEST_TEXT
    assert text.endswith("the API key is wrong or no longer valid")


def test_no_control_character_comes_through() -> None:
    text = told(500, {"description": "a\nb\x1b[31mc\u2028d\u202ee\ud800f"})
    assert text == "a b [31mc d e f"


@given(
    st.sampled_from([400, 401, 500]),
    st.sampled_from(["{}", "x{}y", '{{"description": "no {}"}}', "<title>{}"]),
)
def test_the_key_is_in_no_text(status: int, body: str) -> None:
    assert "s3cr3t-k3y" not in told(status, body.format("s3cr3t-k3y").encode(), secrets=("s3cr3t-k3y", ""))


def test_an_empty_secret_hides_nothing() -> None:
    assert told(500, {"description": "as it is"}, secrets=("",)) == "as it is"


def test_a_key_at_the_cut_does_not_come_through_in_part() -> None:
    assert "s3cr" not in told(500, {"description": "x" * 174 + "s3cr3t-k3y"}, secrets=("s3cr3t-k3y",))


@given(st.integers(100, 999), st.binary(max_size=600))
def test_any_body_makes_one_short_printable_line(status: int, body: bytes) -> None:
    text = told(status, body)
    assert text.isprintable()
    assert 0 < len(text) <= LONGEST_TEXT
