"""A test that takes a `world` fills it. All worlds of a module are then checked side by side, by one promtool."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.alerting.world import World, check_together

SAID = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def world() -> World:
    """A Prometheus that scrapes the exporter of this test, and those of the other tests of the module."""
    return World()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    module = pyfuncitem.getparent(pytest.Module)
    if "world" not in pyfuncitem.fixturenames or module is None:
        return None
    if SAID not in module.stash:
        module.stash[SAID] = _check_all_of(module)
    said = module.stash[SAID][pyfuncitem.nodeid]
    assert not said, said
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
