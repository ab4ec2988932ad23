"""The door around the application: who gets 401, with which headers, how often, and what a changed file does."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import httpx
import pytest

from infobip_exporter.errors import ConfigError
from infobip_exporter.web import check_line, web_config_file
from infobip_exporter.web.app import create_app
from infobip_exporter.web.guard import Bucket, Guard
from infobip_exporter.web.web_config import RateLimit
from infobip_exporter.web.web_config_file import WebConfigFile
from tests.web.views import FakeView, lively

AT_ONCE = check_line.MOST_OF_AN_ADDRESS + 1
"""Checks of one address: those that wait, and the one under way."""

PAGES = ["/metrics", "/", "/-/ready", "/nowhere"]
RABBIT = bcrypt.hashpw(b"rabbit", bcrypt.gensalt(4)).decode()
CAT = bcrypt.hashpw(b"cat", bcrypt.gensalt(4)).decode()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Site:
    """A door with its file, and somebody who knocks, always on the same event loop as in earnest."""

    def __init__(self, file: Path, text: str, loop: asyncio.Runner) -> None:
        self.run = loop.run
        self.file = file
        self.write(text)
        self.clock = Clock()
        self.watched = WebConfigFile(file)
        self.app = Guard(create_app(FakeView([lively()])), lambda: self.watched.config, clock=self.clock)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def rewrite(self, text: str) -> None:
        self.write(text)
        self.watched.look()
        self.watched.look()

    def get(
        self, path: str = "/metrics", user: str = "", password: str = "", method: str = "GET"
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app), base_url="http://exporter"
            ) as client:
                return await client.request(method, path, auth=(user, password) if user else None)

        return self.run(ask())

    def status(self, user: str = "", password: str = "", path: str = "/metrics") -> int:
        return self.get(path, user, password).status_code


MakeSite = Callable[[str], Site]


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_line, "REST", 0.0)


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[MakeSite]:
    with asyncio.Runner() as loop:
        yield lambda text: Site(tmp_path / "web.yml", text, loop)


def users(**hashes: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {each}\n" for name, each in hashes.items())


@pytest.mark.parametrize("path", PAGES)
def test_with_an_empty_file_everybody_is_served(site_of: MakeSite, path: str) -> None:
    assert site_of("").status(path=path) in {200, 404}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_with_users_nobody_else_gets_anything_but_401(site_of: MakeSite, path: str, method: str) -> None:
    site = site_of(users(alice=RABBIT))
    for user, password in (("", ""), ("alice", "cat"), ("bob", "rabbit")):
        answer = site.get(path, user, password, method)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="infobip-exporter", charset="UTF-8"'
        assert answer.headers["cache-control"] == "no-store"
        assert "infobip_" not in answer.text
    assert site.get(path, "alice", "rabbit").status_code in {200, 404}


@pytest.mark.parametrize("path", ["/-/healthy/", "//-/healthy", "/-/healthy/../../metrics", "/-/healthy;x"])
def test_what_only_looks_like_the_open_page_is_not_open(site_of: MakeSite, path: str) -> None:
    assert site_of(users(alice=RABBIT)).status(path=path) == 401


def test_healthy_is_open_to_everybody(site_of: MakeSite) -> None:
    site = site_of(users(alice=RABBIT))
    assert site.status(path="/-/healthy") == 200
    assert site.status("alice", "cat", path="/-/healthy") == 200


def test_a_changed_file_changes_who_may_come_in(site_of: MakeSite) -> None:
    site = site_of(users(alice=RABBIT))
    assert site.status("alice", "rabbit") == 200
    site.rewrite(users(alice=CAT, bob=RABBIT))
    assert [site.status("alice", word) for word in ("rabbit", "cat")] == [401, 200]
    assert site.status("bob", "rabbit") == 200
    site.rewrite(users(bob=RABBIT))
    assert site.status("alice", "cat") == 401


def test_a_change_that_leaves_the_users_as_they_are_checks_nobody_again(
    site_of: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_of(users(alice=RABBIT))
    assert site.status("alice", "rabbit") == 200
    auth = site.app._auth
    site.rewrite(users(alice=RABBIT) + "http_server_config: {headers: {X-XSS-Protection: '0'}}")
    assert site.get("/", "alice", "rabbit").headers["x-xss-protection"] == "0"
    assert site.app._auth is auth


def test_users_can_be_added_to_a_door_without_any(site_of: MakeSite) -> None:
    site = site_of("")
    site.rewrite(users(alice=RABBIT))
    assert [site.status(), site.status("alice", "rabbit")] == [401, 200]


def test_a_file_being_written_is_left_alone_until_it_stays_the_same(site_of: MakeSite) -> None:
    site = site_of(users(alice=RABBIT))
    for more in range(3):
        site.write(users(alice=RABBIT, bob=CAT) + "#" * more)
        site.watched.look()
        assert len(site.watched.config.users) == 1
    site.watched.look()
    assert len(site.watched.config.users) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("basic_auth_users: {alice: secret}", "basic_auth_users.alice: must be a bcrypt hash"),
        ("basic_auth_users: [", "is not valid YAML"),
        ("", "basic_auth_users: the last user goes with a restart"),
    ],
)
def test_a_broken_new_file_keeps_the_old_and_is_told_once(
    site_of: MakeSite, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    site = site_of(users(alice=RABBIT))
    site.rewrite(text)
    for _ in range(5):
        site.watched.look()
    assert [site.status(), site.status("alice", "rabbit")] == [401, 200]
    out = capsys.readouterr().out
    assert out.count("the web configuration is wrong") == 1
    assert told in out
    site.rewrite(users(alice=CAT))
    assert site.status("alice", "cat") == 200
    site.rewrite(text)
    assert capsys.readouterr().out.count("the web configuration is wrong") == 1


def test_a_file_that_is_gone_keeps_the_old(site_of: MakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    site = site_of(users(alice=RABBIT))
    site.file.unlink()
    for _ in range(5):
        site.watched.look()
    assert site.status("alice", "rabbit") == 200
    assert capsys.readouterr().out.count("No such file") == 1


def test_a_file_that_is_the_same_is_not_read_again(
    site_of: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_of(users(alice=RABBIT))
    monkeypatch.setattr(web_config_file, "load_web_config", None)
    for _ in range(3):
        site.watched.look()


def test_a_changed_file_is_read_once(site_of: MakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    site = site_of(users(alice=RABBIT))
    site.rewrite(users(alice=CAT))
    for _ in range(5):
        site.watched.look()
    assert capsys.readouterr().out.count("was read again") == 1


def test_a_file_that_is_put_back_as_it_was_ends_the_trouble(
    site_of: MakeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_of(users(alice=RABBIT))
    kept = site.file.with_name("kept")
    for _ in range(2):
        site.file.rename(kept)
        site.watched.look()
        site.watched.look()
        kept.rename(site.file)
        site.watched.look()
        site.watched.look()
    told = capsys.readouterr().out
    assert (told.count("the web configuration is wrong"), told.count("was read again")) == (2, 2)


def test_another_file_of_the_same_size_and_time_is_read_again(site_of: MakeSite) -> None:
    site = site_of(users(alice=RABBIT))
    before = site.file.stat()
    other = site.file.with_name("other")
    other.write_text(users(alice=CAT))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(site.file)
    site.watched.look()
    site.watched.look()
    assert site.watched.config.users["alice"].reveal() == CAT


def test_a_file_swapped_under_a_link_is_read_again(tmp_path: Path) -> None:
    """As Kubernetes renews a mounted secret."""
    for version, password in (("one", RABBIT), ("two", CAT)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "web.yml").write_text(users(alice=password))
    (tmp_path / "data").symlink_to("one")
    watched = WebConfigFile(tmp_path / "data" / "web.yml")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    watched.look()
    watched.look()
    assert watched.config.users["alice"].reveal() == CAT


def test_a_file_wrong_from_the_start_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: {alice: secret}")
    with pytest.raises(ConfigError, match="must be a bcrypt hash"):
        WebConfigFile(file)


def test_the_files_are_looked_at_while_serving_and_an_internal_error_does_not_end_that(
    site_of: MakeSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web_config_file, "LOOK_EVERY_S", 0.001)
    looks = iter([RuntimeError("a mistake"), None])
    looked_again = threading.Event()

    def look() -> None:
        if (error := next(looks, None)) is not None:
            raise error
        looked_again.set()

    site = site_of("")
    monkeypatch.setattr(site.watched, "look", look)

    async def scenario() -> None:
        task = asyncio.create_task(site.watched.keep_up_to_date())
        assert await asyncio.to_thread(looked_again.wait, 10)
        task.cancel()

    site.run(scenario())
    assert "keeping the last one" in capsys.readouterr().out


# --- headers ---

HEADERS = """
http_server_config:
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
    Content-Security-Policy: default-src 'self'
"""


@pytest.mark.parametrize("path", [*PAGES, "/-/healthy"])
def test_configured_headers_are_on_every_answer_instead_of_ours(site_of: MakeSite, path: str) -> None:
    for site in (site_of(HEADERS), site_of(HEADERS + users(alice=RABBIT))):
        headers = site.get(path).headers
        assert headers.get_list("x-frame-options") == ["deny"]
        assert headers.get_list("strict-transport-security") == ["max-age=31536000"]
        assert headers.get_list("content-security-policy") == ["default-src 'self'"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]


# --- limits ---


def test_a_bucket_gives_a_burst_and_then_one_in_each_interval() -> None:
    bucket = Bucket(RateLimit(interval_s=2.0, burst=3), 100.0)
    assert [bucket.wait_s(100.0) for _ in range(4)] == [0, 0, 0, 2.0]
    assert bucket.wait_s(101.5) == 0.5
    assert [bucket.wait_s(102.0) for _ in range(2)] == [0, 2.0]
    assert [bucket.wait_s(900.0) for _ in range(4)] == [0, 0, 0, 2.0]


def test_the_rate_limit_is_told_with_when_to_come_back(site_of: MakeSite) -> None:
    site = site_of("rate_limit: {interval: 90s, burst: 2}")
    assert [site.status() for _ in range(3)] == [200, 200, 429]
    assert site.get().headers["retry-after"] == "91"
    assert [site.status(path="/-/healthy") for _ in range(5)] == [200] * 5
    site.clock.now_s += 90
    assert [site.status() for _ in range(2)] == [200, 429]


def test_only_those_who_may_come_in_use_up_the_rate_limit(site_of: MakeSite) -> None:
    site = site_of("rate_limit: {interval: 90s, burst: 1}\n" + users(alice=RABBIT))
    assert [site.status() for _ in range(5)] == [401] * 5
    assert site.status("alice", "rabbit") == 200
    assert site.status("alice", "rabbit") == 429


def test_a_changed_rate_limit_begins_anew_and_an_unchanged_one_does_not(site_of: MakeSite) -> None:
    site = site_of("rate_limit: {interval: 90s, burst: 1}")
    assert [site.status() for _ in range(2)] == [200, 429]
    site.rewrite("rate_limit: {interval: 90s, burst: 1} # the same")
    assert site.status() == 429
    site.rewrite("rate_limit: {interval: 90s, burst: 2}")
    assert [site.status() for _ in range(3)] == [200, 200, 429]
    site.rewrite("")
    assert site.status() == 200


def test_a_flood_of_passwords_gets_429_while_the_verified_are_served(
    site_of: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    site = site_of(users(alice=RABBIT))

    async def scenario() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(site.app), base_url="http://exporter"
        ) as client:
            assert (await client.get("/metrics", auth=("alice", "rabbit"))).status_code == 200
            assert site.app._auth is not None
            monkeypatch.setattr(site.app._auth, "_check", lambda *_: go_on.wait(10) and False)
            asked = [
                asyncio.create_task(client.get("/metrics", auth=("alice", f"guess {n}"))) for n in range(50)
            ]
            busy = [(await each).status_code for each in asked[AT_ONCE:]]
            assert busy == [429] * (50 - AT_ONCE)
            assert (await client.get("/metrics", auth=("alice", "rabbit"))).status_code == 200
            assert (await client.get("/-/healthy")).status_code == 200
            go_on.set()
            first = await asyncio.gather(*asked[:AT_ONCE])
            assert {each.status_code for each in first} == {401}
            assert (await asked[-1]).headers["retry-after"] == "2"

    site.run(scenario())


def test_wrong_passwords_are_told_once_a_minute_without_the_user(
    site_of: MakeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_of(users(alice=RABBIT))
    site.status()
    assert capsys.readouterr().out == ""
    for place in range(5):
        site.status("hunter2", str(place))
    site.clock.now_s += 60
    site.status("alice", "hunter3")
    out = capsys.readouterr().out
    assert [line.split("client")[1].split() for line in out.splitlines()] == [
        ["=127.0.0.1", "count=1"],
        ["=127.0.0.1", "count=5"],
    ]
    assert "hunter" not in out
    assert "alice" not in out


def test_what_works_otherwise_than_one_may_think_is_told_once(
    site_of: MakeSite, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_of("http_server_config: {http2: true}")
    site.rewrite("http_server_config: {http2: true} # the same")
    assert capsys.readouterr().out.count("HTTP/1.1 is spoken here") == 1
