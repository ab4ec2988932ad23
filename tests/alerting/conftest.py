"""A test that takes a `world` fills it. All worlds of a module are then checked side by side, by one promtool."""

import fcntl
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.alerting.promtool import check_together
from tests.alerting.world import World

SAID = pytest.StashKey[str]()
"""What promtool says of a test's failures."""


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A Prometheus that scrapes the exporter of this test, and those of the other tests of the module."""
    module = request.node.getparent(pytest.Module)
    own = tmp_path_factory.getbasetemp()
    # Of all processes of this run, the first one checks, and the others wait for it.
    kept = (own.parent if own.name.startswith("popen-") else own) / f"{module.path.stem}.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(_check_all_of(module)))
    request.node.stash[SAID] = json.loads(kept.read_text())[request.node.nodeid]
    return World()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if "world" not in pyfuncitem.fixturenames:
        return None
    assert not pyfuncitem.stash[SAID], pyfuncitem.stash[SAID]
    return True


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
