"""A test that takes a `world` fills it. All worlds of a module are then checked side by side, by one promtool."""

import fcntl
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.alerting.promtool import check_together
from tests.alerting.world import World

SAID = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def world() -> World:
    """A Prometheus that scrapes the exporter of this test, and those of the other tests of the module."""
    return World()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


@pytest.fixture(autouse=True)
def _checked(request: pytest.FixtureRequest) -> None:
    module = request.node.getparent(pytest.Module)
    if "world" in request.fixturenames and SAID not in module.stash:
        module.stash[SAID] = _once_a_run(module, request.getfixturevalue("shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if "world" not in pyfuncitem.fixturenames:
        return None
    module = pyfuncitem.getparent(pytest.Module)
    assert module is not None
    said = module.stash[SAID][pyfuncitem.nodeid]
    assert not said, said
    return True


def _once_a_run(module: pytest.Module, shared: Path) -> dict[str, str]:
    """By test, what promtool says of failures; a process that comes later waits for the first one's."""
    kept = shared / f"{module.path.stem}.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(_check_all_of(module)))
    said: dict[str, str] = json.loads(kept.read_text())
    return said


def _check_all_of(module: pytest.Module) -> dict[str, str]:
    """By test that was chosen in this run, what promtool says of failures."""
    worlds: dict[str, World] = {}
    for item in module.session.items:
        if (
            isinstance(item, pytest.Function)
            and "world" in item.fixturenames
            and module in item.iter_parents()
        ):
            worlds[item.nodeid] = World()
            item.obj(world=worlds[item.nodeid], **(item.callspec.params if hasattr(item, "callspec") else {}))
    with TemporaryDirectory() as folder:
        return dict(zip(worlds, check_together(worlds.values(), Path(folder)), strict=True))
