"""What each address answers."""

import asyncio
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from infobip_exporter import logs
from infobip_exporter.errors import ConfigError
from infobip_exporter.log_writer import LogWriter
from infobip_exporter.metrics.snapshot import Reloaded
from infobip_exporter.metrics.zero_start import Moment
from infobip_exporter.model.series import Series
from infobip_exporter.web.app import create_app
from tests.web.views import START, Client, FakeView, lively

SENT = Series.of("infobip_messages_sent_total", entity_id="shop", application_id="web")


@pytest.fixture
def view() -> FakeView:
    return FakeView([lively()])


@pytest.fixture
def client(view: FakeView) -> Client:
    return Client(create_app(view))


def later(view: FakeView, seconds: float) -> Moment:
    view.moment = Moment(START.wall_s + seconds, START.monotonic_s + seconds)
    return view.moment


def sent(client: Client) -> float:
    families = parse_text(client.get("/metrics").text)
    return next(f.samples[0].value for f in families if f.name == "infobip_messages_sent")


def test_metrics_are_text_unless_something_else_is_asked_for(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert {family.name for family in parse_text(answer.text)} >= {"infobip_up", "process_cpu_seconds"}


def test_metrics_are_open_metrics_when_asked_for(client: Client) -> None:
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = client.get("/metrics", headers={"accept": asked})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert {family.name for family in parse_open_metrics(answer.text)} >= {
        "infobip_up",
        "infobip_messages_sent",
    }


def test_who_asks_for_a_newer_open_metrics_gets_valid_1_0(client: Client) -> None:
    asked = "application/openmetrics-text;version=2.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.1"
    answer = client.get("/metrics", headers={"accept": asked})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family.type for family in parse_open_metrics(answer.text)}
    assert (families["infobip_messages_sent"], families["process_cpu_seconds"]) == ("counter", "counter")
    one = client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert list(families) == [family.name for family in parse_open_metrics(one.text)]


def test_metrics_are_compressed_when_that_is_accepted(client: Client) -> None:
    plain = client.get("/metrics", headers={"accept-encoding": "identity"})
    packed = client.get("/metrics", headers={"accept-encoding": "deflate, gzip;q=0.9"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert packed.content == plain.content
    assert packed.headers["vary"] == "Accept, Accept-Encoding"


def test_a_scrape_begins_the_hold_and_the_real_value_follows_it(view: FakeView, client: Client) -> None:
    zero_start = view.starts["main", "instagram"]
    assert sent(client) == 0
    zero_start.saved(zero_start.unsaved(later(view, 58)))
    assert sent(client) == 0
    later(view, 60)
    assert sent(client) == 1_234_567


def test_a_head_request_shows_nothing_and_so_begins_no_hold(view: FakeView, client: Client) -> None:
    answer = client.request("HEAD", "/metrics")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 1000
    assert view.starts["main", "instagram"].unsaved(later(view, 3600)) == set()
    client.get("/metrics")
    assert SENT in view.starts["main", "instagram"].unsaved(later(view, 7200))


def test_an_answer_that_could_not_be_sent_begins_no_hold(view: FakeView) -> None:
    app = create_app(view)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def broken_send(_: object) -> None:
        raise OSError("the client is gone")

    scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [], "query_string": b""}
    with pytest.raises(OSError, match="gone"):
        asyncio.run(app(scope, receive, broken_send))  # type: ignore[arg-type]
    assert view.starts["main", "instagram"].unsaved(later(view, 3600)) == set()


def test_healthy_names_the_feeds_that_make_no_progress(view: FakeView, client: Client) -> None:
    view.missing = ["main/instagram"]
    answer = client.get("/-/healthy")
    assert (answer.status_code, answer.text) == (200, "infobip-exporter is healthy.\n")
    view.stuck = ["main/instagram", "main/sms"]
    answer = client.get("/-/healthy")
    assert answer.status_code == 503
    assert answer.text == "infobip-exporter is not healthy, no progress: main/instagram, main/sms\n"


def test_ready_names_the_feeds_that_have_not_been_asked(view: FakeView, client: Client) -> None:
    view.missing = ["main/instagram", "main/sms"]
    answer = client.get("/-/ready")
    assert answer.status_code == 503
    assert answer.text == "infobip-exporter is not ready, not asked yet: main/instagram, main/sms\n"
    view.missing = []
    answer = client.get("/-/ready")
    assert (answer.status_code, answer.text) == (200, "infobip-exporter is ready.\n")


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/-/quit", "/favicon.ico", "/<script>"])
def test_anything_else_is_not_here(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.text == "Not here. There are /metrics, /, /-/healthy and /-/ready.\n"


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_only_get_and_head_are_answered(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/nowhere"])
def test_no_answer_is_stored_or_guessed_at(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    if path != "/metrics":
        assert headers["content-security-policy"].startswith("default-src 'none'")


def test_reloading_over_http_is_off_unless_allowed(client: Client) -> None:
    answer = client.request("POST", "/-/reload")
    assert answer.status_code == 403
    assert "--web.enable-lifecycle" in answer.text


def test_a_reload_is_answered_with_how_it_went(view: FakeView) -> None:
    mistakes: list[Exception] = [ConfigError(["config.yaml:1: pol: unknown key"]), TimeoutError()]

    def reload() -> None:
        if mistakes:
            raise mistakes.pop(0)

    client = Client(create_app(view, reload))
    answers = [client.request("POST", "/-/reload") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 504, 200]
    assert answers[0].text.endswith("keeping the old one:\nconfig.yaml:1: pol: unknown key\n")
    wrong = client.get("/-/reload")
    assert (wrong.status_code, wrong.text) == (405, "Only POST can be asked for here.\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "http://exporter"}, 200),
        ({"origin": "https://exporter"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://exporter:81"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_can_not_reload(view: FakeView, headers: dict[str, str], status: int) -> None:
    reloads: list[None] = []
    client = Client(create_app(view, lambda: reloads.append(None)))
    assert client.request("POST", "/-/reload", headers).status_code == status
    assert len(reloads) == (status == 200)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("exporter.example", 200),
        ("Exporter.Example:10470", 200),
        ("a.b.example.org", 200),
        ("[::1]:10470", 200),
        ("example.org", 400),
        ("evil.example", 400),
        ("exporter.example.evil.example", 400),
        ("192.0.2.1", 400),
        ("", 400),
    ],
)
def test_only_allowed_hosts_are_served_where_there_is_a_list(view: FakeView, host: str, status: int) -> None:
    client = Client(create_app(view, allowed_hosts=["exporter.example", "*.example.org", "::1"]))
    assert client.get("/metrics", {"host": host}).status_code == status
    assert client.get("/-/healthy", {"host": host}).status_code == 200


def test_the_page_says_how_the_configuration_was_last_read(view: FakeView, client: Client) -> None:
    page = client.get("/metrics").text.splitlines()
    assert "infobip_exporter_config_last_reload_successful 1" in page
    view.reloaded = Reloaded(successful=False, success_s=1.5)
    page = client.get("/metrics").text.splitlines()
    assert "infobip_exporter_config_last_reload_successful 0" in page
    assert "infobip_exporter_config_last_reload_success_timestamp_seconds 1.5" in page


def test_dropped_log_lines_are_shown_from_the_start(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_writer", None)
    assert "infobip_exporter_log_lines_dropped_total 0" in client.get("/metrics").text.splitlines()
    writer = LogWriter(None, str)
    monkeypatch.setattr(logs, "_writer", writer)
    writer.drop()
    assert "infobip_exporter_log_lines_dropped_total 1" in client.get("/metrics").text.splitlines()


def test_a_feed_that_a_reload_brought_while_the_page_was_made_is_on_the_next(
    view: FakeView, client: Client
) -> None:
    view.feeds.append(lively("new"))
    assert 'account="new"' not in client.get("/metrics").text


def test_an_internal_error_is_answered_without_its_details(view: FakeView) -> None:
    view.feeds = None  # type: ignore[assignment]
    answer = Client(create_app(view), strict=False).get("/metrics")
    assert (answer.status_code, answer.text) == (500, "Internal error, see the exporter's log.\n")


def test_a_scrape_sees_each_feed_whole_while_snapshots_are_swapped(view: FakeView, client: Client) -> None:
    view.hold_s = 0
    view.__post_init__()
    done = threading.Event()

    def swap() -> None:
        count = 0
        while not done.is_set():
            count += 1
            pair = {
                Series.of("infobip_messages_sent_total", entity_id=name, application_id=""): count
                for name in "ab"
            }
            view.feeds = [lively(counters=pair)]

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(50):
            families = parse_text(client.get("/metrics").text)
            values = [s.value for f in families if f.name == "infobip_messages_sent" for s in f.samples]
            assert len(set(values)) == 1
    finally:
        done.set()
        swapping.join()


def test_feeds_are_counted_by_whether_this_replica_runs_them() -> None:
    view = FakeView([lively()], elsewhere=3)
    lines = Client(create_app(view)).get("/metrics").text.splitlines()
    assert 'infobip_exporter_feeds{state="owned"} 1' in lines
    assert 'infobip_exporter_feeds{state="standby"} 3' in lines
