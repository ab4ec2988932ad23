"""What the client makes of answers. How it behaves on a real network is in test_client_network.py."""

import asyncio
import gzip
import json
import logging
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from infobip_exporter import __version__
from infobip_exporter.config import rules
from infobip_exporter.errors import RequestFailed
from infobip_exporter.infobip import client as client_module
from infobip_exporter.infobip import http as http_module
from infobip_exporter.infobip.answer import decode_page
from infobip_exporter.infobip.client import Client
from infobip_exporter.infobip.credentials import Credentials, HeaderCredentials, SecretFile, api_key, fixed
from infobip_exporter.infobip.query import Query
from infobip_exporter.model.labels import Label
from infobip_exporter.model.record import Answer, Page
from infobip_exporter.model.secret import Secret

KEY = "s3cr3t-k3y"
DESTINATION = "385916242493"
PAGE = {"results": [], "cursor": {"limit": 1000, "nextCursor": "next"}}
PACKED = gzip.compress(json.dumps(PAGE).encode())
DATE = "Wed, 01 Feb 2023 23:15:03 GMT"

T = TypeVar("T")
Handler = Callable[[httpx.Request], httpx.Response]


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time stands still but for what a test adds to `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(work)


def pass_s(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Clock)
    loop.now += seconds


class Dribble(httpx.AsyncByteStream):
    """A body of which each piece takes `each_s` seconds."""

    def __init__(self, pieces: list[bytes], each_s: float = 0.0) -> None:
        self._pieces, self._each_s = pieces, each_s
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            pass_s(self._each_s)
            for _ in range(2):  # what has become due comes before the piece
                await asyncio.sleep(0)
            self.given += 1
            yield piece


def client(handler: Handler, credentials: Credentials | None = None, **changes: Any) -> Client:
    arguments: dict[str, Any] = {
        "base_url": "https://x.api.infobip.com",
        "path": "/instagram/1/logs",
        "credentials": credentials or api_key(fixed(Secret(KEY))),
        "filters": {},
        "timeout_s": 10.0,
        "transport": httpx.MockTransport(handler),
        "wall_s": lambda: 1_675_293_300.0,
        **changes,
    }
    return Client(**arguments)


def key_in(path: Path) -> HeaderCredentials:
    return api_key(SecretFile(path, "api_key_file", rules.api_key))


def ask(response: httpx.Response, **changes: Any) -> Answer:
    return run(client(lambda request: response, **changes).fetch(Query()))


def failure(response: httpx.Response | Exception, **changes: Any) -> RequestFailed:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    with pytest.raises(RequestFailed) as failed:
        run(client(answer, **changes).fetch(Query()))
    assert failed.value.__suppress_context__ or failed.value.__context__ is None
    return failed.value


def test_an_answer_has_its_page_its_date_and_its_times() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        pass_s(0.5)
        stream = Dribble([json.dumps(PAGE).encode()], 0.25)
        return httpx.Response(200, headers={"Date": DATE}, stream=stream)

    got = run(client(answer).fetch(Query()))
    assert got.page.next_cursor == "next"
    assert got.date_ms == 1_675_293_303_000
    assert (got.asked_s, got.received_s, got.took_s) == (1000.0, 1000.5, 0.75)


def test_an_answer_without_a_date_has_none() -> None:
    assert ask(httpx.Response(200, json=PAGE)).date_ms is None


def test_what_is_asked_is_in_the_request() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=PAGE)

    question = Query(since_ms=1_675_293_303_380, until_ms=1_675_293_304_000, message_ids=("a", "b"))
    asking = client(answer, base_url="https://x.api.infobip.com/", filters={"sender": "A&B +ß"})
    run(asking.fetch(question))
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


def packed_in(pieces: int, body: bytes) -> httpx.Response:
    packed = gzip.compress(body)
    size = -(-len(packed) // pieces)
    stream = Dribble([packed[at : at + size] for at in range(0, len(packed), size)])
    return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream)


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize("size", [0, 2**18 - 57, 2**20])
def test_a_compressed_answer_is_unpacked(pieces: int, size: int) -> None:
    body = json.dumps({"results": [], "cursor": {}, "": "x" * size}).encode()
    assert ask(packed_in(pieces, body)).page.cursor_offered


@pytest.mark.parametrize("encoding", ["identity", "GZIP", "x-gzip"])
def test_the_encodings_that_were_asked_for_have_these_names(encoding: str) -> None:
    body = json.dumps(PAGE).encode()
    content = body if encoding == "identity" else gzip.compress(body)
    stream = Dribble([content])
    assert ask(httpx.Response(200, headers={"Content-Encoding": encoding}, stream=stream)).page.rows == 0


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "identity, gzip"])
def test_an_encoding_that_nobody_asked_for_is_named_and_not_read(encoding: str) -> None:
    stream = Dribble([gzip.compress(json.dumps(PAGE).encode())])
    failed = failure(httpx.Response(200, headers={"Content-Encoding": encoding}, stream=stream))
    assert failed.code == "invalid_body"
    assert failed.text == f'the answer has the encoding "{encoding}", which was not asked for'
    assert stream.given == 0


def test_a_refusal_in_an_encoding_that_nobody_asked_for_is_still_that_refusal() -> None:
    stream = Dribble([b"..."])
    failed = failure(httpx.Response(401, headers={"Content-Encoding": "br"}, stream=stream))
    assert (failed.code, failed.text) == ("401", "Unauthorized; the API key is wrong or no longer valid")


def test_no_cookie_is_sent_back() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=PAGE, headers={"Set-Cookie": "session=1; Path=/"})

    async def twice() -> None:
        asking = client(answer)
        await asking.fetch(Query())
        await asking.fetch(Query())

    run(twice())
    assert [request.headers.get("Cookie") for request in requests] == [None, None]


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
    assert failed.text.startswith("FORBIDDEN: No access; the credentials lack the scope viber:logs:read")


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


@pytest.mark.parametrize(
    "content",
    [b"not gzip at all", PACKED[:-1], PACKED[:20], PACKED + b"x", PACKED + PACKED],
    ids=["none", "cut", "cut early", "more after it", "twice"],
)
def test_a_broken_compression_is_invalid(content: bytes) -> None:
    for stream in (Dribble([content]), Dribble([content[at : at + 1] for at in range(len(content))])):
        failed = failure(httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream))
        assert (failed.code, failed.text) == ("invalid_body", "the answer's compression is broken")


def test_a_body_as_large_as_may_be_is_read_and_a_larger_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(PAGE).encode()
    monkeypatch.setattr(http_module, "LARGEST_BODY", len(content))
    assert ask(httpx.Response(200, content=content)).page.rows == 0
    failed = failure(httpx.Response(200, content=content + b" "))
    assert failed.code == "invalid_body"
    assert "larger than" in failed.text


def test_a_bomb_is_unpacked_no_further_than_the_limit() -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    bomb = [packer.compress(bytes(2**20)) for _ in range(500)]
    stream = Dribble([b"".join(bomb), packer.flush()])
    tracemalloc.start()
    failed = failure(httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (failed.code, failed.text) == ("invalid_body", "the answer is larger than 16 MiB")
    assert most < 1.5 * http_module.LARGEST_BODY


@pytest.mark.parametrize(("size", "elsewhere"), [(600_000, False), (2_000_000, True)])
def test_a_huge_answer_is_decoded_in_another_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, elsewhere: bool
) -> None:
    threads: list[threading.Thread] = []

    def decode(body: bytes, labels: tuple[Label, ...]) -> Page:
        threads.append(threading.current_thread())
        return decode_page(body, labels)

    monkeypatch.setattr(client_module, "decode_page", decode)
    assert (
        ask(httpx.Response(200, content=json.dumps({"results": [], "": "x" * size}).encode())).page.rows == 0
    )
    assert [thread is not threading.current_thread() for thread in threads] == [elsewhere]


def test_an_answer_that_dribbles_past_the_deadline_is_a_timeout() -> None:
    failed = failure(httpx.Response(200, stream=Dribble([b" "] * 100, 1.0)))
    assert failed.code == "timeout"
    assert failed.text == "no whole answer within 10 s"
    assert failed.took_s == 10.0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (httpx.ReadTimeout("slow"), "timeout", "no whole answer within 10 s"),
        (TimeoutError(110, "Connection timed out"), "timeout", "no whole answer within 10 s"),
        (
            httpx.ConnectError("[Errno 111] Connection refused"),
            "connection",
            "[Errno 111] Connection refused",
        ),
        (httpx.ReadError(""), "connection", "ReadError"),
        (httpx.ProxyError("407 Proxy Authentication Required"), "connection", "the proxy answered 407 Proxy"),
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


def test_an_error_that_says_nothing_is_told_by_its_cause() -> None:
    error = httpx.ReadError("")
    error.__cause__ = RuntimeError("not this")
    error.__cause__.__context__ = ssl.SSLError(1, "tlsv13 alert certificate required")
    assert "tlsv13 alert certificate required" in failure(error).text


def test_a_refusal_whose_body_fails_is_still_that_refusal() -> None:
    stream = Dribble([b'{"description": "no"', b"}"], 6.0)
    failed = failure(httpx.Response(503, stream=stream, headers={"Retry-After": "3"}))
    assert (failed.code, failed.retry_after_s) == ("503", 3.0)


def test_a_refusal_with_an_endless_body_is_read_no_further_than_needed() -> None:
    stream = Dribble([b"x" * 65536] * 10_000)
    failure(httpx.Response(500, stream=stream))
    assert stream.given <= 2


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    failed = failure(AssertionError("asked"), credentials=key_in(tmp_path / "nowhere"))
    assert failed.code == ""
    assert "nowhere: No such file" in failed.text
    assert failed.took_s == 0


def test_whether_there_is_a_new_key_is_told_without_asking(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    asking = client(lambda _: httpx.Response(401), credentials=key_in(file))
    with pytest.raises(RequestFailed):
        run(asking.fetch(Query()))
    assert not asking.has_new_key()
    file.write_text("newer")
    assert asking.has_new_key()


def test_after_a_401_the_key_is_looked_for_again_and_after_a_403_it_is_not() -> None:
    class Changing(HeaderCredentials):
        def __init__(self) -> None:
            super().__init__(fixed(Secret("old")), "App {}".format, "no")
            self.refusals: list[Secret] = []

        def refused(self, header: Secret) -> None:
            self.refusals.append(header)

    async def ask_each(*statuses: int) -> list[Secret]:
        given = iter(statuses)
        credentials = Changing()
        asking = client(lambda _: httpx.Response(next(given)), credentials=credentials)
        for status in statuses:
            with pytest.raises(RequestFailed, match=str(status)):
                await asking.fetch(Query())
        return credentials.refusals

    assert run(ask_each(403, 500, 401)) == [Secret("App old")]


def test_a_closed_client_asks_nothing() -> None:
    async def closed() -> None:
        asking = client(lambda request: httpx.Response(200, json=PAGE))
        await asking.close()
        await asking.close()
        await asking.fetch(Query())

    with pytest.raises(RequestFailed) as failed:
        run(closed())
    assert failed.value.code == ""


def test_addresses_and_keys_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ask(httpx.Response(200, json=PAGE), filters={"destination": DESTINATION})
    assert DESTINATION not in caplog.text
    assert KEY not in caplog.text
