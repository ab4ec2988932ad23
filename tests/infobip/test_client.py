"""What the client makes of answers. How it behaves on a real network is in test_client_network.py."""

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infobip_exporter import __version__
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip import client as client_module
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.credentials import Credentials, GivenKey, KeyFile
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.record import Answer
from infobip_exporter.model.secret import Secret

KEY = "s3cr3t-k3y"
DESTINATION = "385916242493"
PAGE = {"results": [], "cursor": {"limit": 1000, "nextCursor": "next"}}
DATE = "Wed, 01 Feb 2023 23:15:03 GMT"

Handler = Callable[[httpx.Request], httpx.Response]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Dribble(httpx.SyncByteStream):
    """A body of which each piece takes `each_s` seconds."""

    def __init__(self, pieces: list[bytes], clock: Clock, each_s: float) -> None:
        self._pieces, self._clock, self._each_s = pieces, clock, each_s

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._clock.now += self._each_s
            yield piece


def client(
    handler: Handler, clock: Clock | None = None, credentials: Credentials | None = None, **changes: Any
) -> Client:
    arguments: dict[str, Any] = {
        "base_url": "https://x.api.infobip.com",
        "path": "/instagram/1/logs",
        "credentials": credentials or GivenKey(Secret(KEY)),
        "filters": {},
        "timeout_s": 10.0,
        "transport": httpx.MockTransport(handler),
        "clock": clock or Clock(),
        "wall_s": lambda: 1_675_293_300.0,
        **changes,
    }
    return Client(**arguments)


def ask(response: httpx.Response, **changes: Any) -> Answer:
    return client(lambda request: response, **changes).ask(Query())


def failure(response: httpx.Response | Exception, **changes: Any) -> RequestFailed:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    with pytest.raises(RequestFailed) as failed:
        client(answer, **changes).ask(Query())
    assert failed.value.__suppress_context__ or failed.value.__context__ is None
    return failed.value


def test_an_answer_has_its_page_its_date_and_the_time_it_took() -> None:
    clock = Clock()
    stream = Dribble([json.dumps(PAGE).encode()], clock, 0.25)
    answer = ask(httpx.Response(200, headers={"Date": DATE}, stream=stream), clock=clock)
    assert answer.page.next_cursor == "next"
    assert answer.date_ms == 1_675_293_303_000
    assert answer.took_s == 0.25


def test_an_answer_without_a_date_has_none() -> None:
    assert ask(httpx.Response(200, json=PAGE)).date_ms is None


def test_what_is_asked_is_in_the_request() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=PAGE)

    question = Query(since_ms=1_675_293_303_380, until_ms=1_675_293_304_000, message_ids=("a", "b"))
    client(answer, base_url="https://x.api.infobip.com/", filters={"sender": "A&B +ß"}).ask(question)
    request = requests[0]
    assert request.method == "GET"
    assert str(request.url).startswith("https://x.api.infobip.com/instagram/1/logs?")
    assert dict(request.url.params) == question.parameters({"sender": "A&B +ß"})
    assert "sentSince=2023-02-01T23%3A15%3A03.379%2B0000" in str(request.url)
    assert "messageId=a%2Cb" in str(request.url)
    assert request.headers["Authorization"] == f"App {KEY}"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["User-Agent"] == f"infobip-exporter/{__version__}"


def test_a_compressed_answer_is_unpacked() -> None:
    packed = gzip.compress(json.dumps(PAGE).encode())
    assert ask(httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=packed)).page.cursor_offered


@pytest.mark.parametrize(
    "status", [201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 418, 429, 500, 503, 599]
)
def test_every_other_status_is_a_failure_with_its_code(status: int) -> None:
    failed = failure(httpx.Response(status, json=PAGE, headers={"Location": "https://elsewhere.test/"}))
    assert failed.code == str(status)
    assert failed.text


def test_a_refusal_has_the_apis_text_and_what_to_do() -> None:
    body = {"requestError": {"serviceException": {"messageId": "FORBIDDEN", "text": "No access"}}}
    failed = failure(httpx.Response(403, json=body), path="/viber/2/logs")
    assert failed.text.startswith("FORBIDDEN: No access; the API key lacks the scope viber:logs:read")


def test_neither_the_key_nor_a_filtered_destination_is_repeated() -> None:
    body = {"description": f"key {KEY} may not read {DESTINATION}"}
    failed = failure(httpx.Response(403, json=body), filters={"destination": DESTINATION})
    assert failed.text.startswith("key *** may not read ***")
    failed = failure(httpx.ConnectError(f"can't connect with {KEY}"))
    assert failed.text == "can't connect with ***"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "-7"}, 0.0),
        ({"Retry-After": "86400"}, 3600.0),
        ({"Retry-After": DATE}, 3.0),
        ({"Retry-After": DATE, "Date": "Wed, 01 Feb 2023 23:14:33 GMT"}, 30.0),
    ],
)
def test_a_wait_that_the_api_asks_for_is_passed_on(headers: dict[str, str], wait_s: float | None) -> None:
    assert failure(httpx.Response(429, headers=headers)).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<html>Sign in</html>", "HTML"),
        (b'{"results": [{"messageId": "a", "content": {"text": "private', "not whole JSON"),
        (b'{"requestError": {}}', "without a list of results"),
        (b'{"results": null}', "without a list of results"),
    ],
)
def test_a_body_that_is_no_page_is_invalid_and_not_repeated(content: bytes, says: str) -> None:
    failed = failure(httpx.Response(200, content=content))
    assert failed.code == "invalid_body"
    assert says in failed.text
    assert "private" not in failed.text


def test_a_broken_compression_is_invalid() -> None:
    stream = Dribble([b"not gzip at all"], Clock(), 0)
    failed = failure(httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream))
    assert failed.code == "invalid_body"
    assert "compression" in failed.text


def test_a_body_as_large_as_may_be_is_read_and_a_larger_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(PAGE).encode()
    monkeypatch.setattr(client_module, "LARGEST_BODY", len(content))
    assert ask(httpx.Response(200, content=content)).page.rows == 0
    failed = failure(httpx.Response(200, content=content + b" "))
    assert failed.code == "invalid_body"
    assert "larger than" in failed.text


def test_an_answer_that_dribbles_past_the_deadline_is_a_timeout() -> None:
    clock = Clock()
    failed = failure(httpx.Response(200, stream=Dribble([b" "] * 100, clock, 1.0)), clock=clock)
    assert failed.code == "timeout"
    assert failed.text == "no whole answer within 10 s"
    assert failed.took_s == 10.0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (httpx.ReadTimeout("slow"), "timeout", "no whole answer within 10 s"),
        (httpx.ConnectTimeout("slow"), "timeout", "no whole answer within 10 s"),
        (
            httpx.ConnectError("[Errno 111] Connection refused"),
            "connection",
            "[Errno 111] Connection refused",
        ),
        (httpx.ReadError(""), "connection", "ReadError"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "connection", "407 Proxy"),
        (OSError(113, "No route to host"), "connection", "No route to host"),
        (
            httpx.RemoteProtocolError("peer closed connection without sending all"),
            "connection",
            "peer closed",
        ),
        (httpx.RemoteProtocolError("illegal line b'private text'"), "connection", "not proper HTTP"),
        (httpx.LocalProtocolError(f"Illegal header value b'App {KEY}'"), "connection", "not proper HTTP"),
    ],
)
def test_what_goes_wrong_on_the_way_is_classified(error: Exception, code: str, text: str) -> None:
    failed = failure(error)
    assert failed.code == code
    assert text in failed.text
    assert KEY not in failed.text
    assert "private" not in failed.text


def test_a_refusal_whose_body_fails_is_still_that_refusal() -> None:
    clock = Clock()
    stream = Dribble([b'{"description": "no"', b"}"], clock, 6.0)
    failed = failure(httpx.Response(503, stream=stream, headers={"Retry-After": "3"}), clock=clock)
    assert (failed.code, failed.retry_after_s) == ("503", 3.0)


def test_a_refusal_with_an_endless_body_is_read_no_further_than_needed() -> None:
    clock = Clock()
    stream = Dribble([b"x" * 65536] * 10_000, clock, 0.001)
    assert failure(httpx.Response(500, stream=stream), clock=clock).took_s < 0.01


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    failed = failure(AssertionError("asked"), credentials=KeyFile(tmp_path / "nowhere"))
    assert failed.code == ""
    assert "nowhere: No such file" in failed.text
    assert failed.took_s == 0


def test_whether_there_is_a_new_key_is_told_without_asking(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    asking = client(lambda _: httpx.Response(401), credentials=KeyFile(file))
    with pytest.raises(RequestFailed):
        asking.ask(Query())
    assert not asking.has_new_key()
    file.write_text("newer")
    assert asking.has_new_key()


def test_after_a_401_the_key_is_looked_for_again() -> None:
    class Changing:
        def __init__(self) -> None:
            self.keys = ["old", "new"]

        def key(self) -> Secret:
            return Secret(self.keys[0])

        def refused(self) -> None:
            del self.keys[0]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["Authorization"] == "App new" else 401, json=PAGE)

    asking = client(answer, credentials=Changing())
    with pytest.raises(RequestFailed, match="401"):
        asking.ask(Query())
    assert asking.ask(Query()).page.rows == 0


def test_only_a_401_makes_it_look_for_another_key() -> None:
    class Fixed(GivenKey):
        def refused(self) -> None:
            pytest.fail("refused")

    assert failure(httpx.Response(403), credentials=Fixed(Secret(KEY))).code == "403"


def test_a_closed_client_asks_nothing() -> None:
    asking = client(lambda request: httpx.Response(200, json=PAGE))
    asking.close()
    asking.close()
    with pytest.raises(RequestFailed) as failed:
        asking.ask(Query())
    assert failed.value.code == ""


def test_a_client_closed_while_it_asks_gives_its_connections_back_after() -> None:
    class Transport(httpx.MockTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

    def answer(request: httpx.Request) -> httpx.Response:
        asking.close()
        assert not transport.closed
        return httpx.Response(200, json=PAGE)

    transport = Transport(answer)
    asking = client(answer, transport=transport)
    asking.ask(Query())
    assert transport.closed


def test_addresses_and_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ask(httpx.Response(200, json=PAGE), filters={"destination": DESTINATION})
    assert DESTINATION not in caplog.text
    assert KEY not in caplog.text
