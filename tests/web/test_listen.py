"""Listening on a unix socket: who may connect, what an earlier run left behind, and what is not ours to remove."""

import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infobip_exporter.errors import ListenError
from infobip_exporter.web.listen import listening_sockets
from infobip_exporter.web.server import Server
from tests.web.test_server import HEALTHY, our_app


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The folder may be too deep for a socket's name.
    monkeypatch.chdir(tmp_path)
    return Path("exporter.sock")


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    server = Server(our_app(), (f"unix:{path}",))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def healthy(path: Path) -> bytes:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        return client.get("http://exporter/-/healthy").content


def test_it_serves_on_a_unix_socket_for_owner_and_group_and_removes_it(path: Path) -> None:
    with serving(path) as server:
        assert server.address == "unix:exporter.sock"
        assert healthy(path) == HEALTHY
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_a_socket_left_behind_by_a_killed_run_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        assert healthy(path) == HEALTHY


def test_a_socket_in_use_is_told_and_left_alone(path: Path) -> None:
    with serving(path):
        with pytest.raises(ListenError) as told:
            listening_sockets(f"unix:{path}")
        assert healthy(path) == HEALTHY
    assert str(told.value) == (
        "can't listen on unix:exporter.sock: it is in use by another program; "
        "choose another with --web.listen-address"
    )


def test_a_file_that_is_no_socket_is_told_and_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ListenError, match="there is a file of that name, and it is no socket"):
        listening_sockets(f"unix:{path}")
    assert path.read_text() == "mine"


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(ListenError, match=r"unix:/no/such/x\.sock: No such file or directory"):
        listening_sockets("unix:/no/such/x.sock")


def test_a_path_too_long_is_told() -> None:
    with pytest.raises(ListenError, match="in at most 107 bytes"):
        listening_sockets("unix:/" + "x" * 107)


def test_another_socket_that_has_taken_its_place_is_not_removed(path: Path) -> None:
    with serving(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.is_socket()


def test_stopping_twice_removes_nothing_of_the_next_run(path: Path) -> None:
    with serving(path) as first:
        first.stop()
        with serving(path):
            first.stop()
            assert healthy(path) == HEALTHY
