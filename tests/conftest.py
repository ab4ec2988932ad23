"""Rules for the whole test run."""

import asyncio
import inspect
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from infobip_sandbox.postgres import Postgres, postgres

REQUIRE_SERVERS = "INFOBIP_EXPORTER_REQUIRE_SERVERS"
"""Set to 1 (as CI does), a test that was skipped, say for want of a Prometheus, makes the run fail."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        exitstatus == 0
        and os.environ.get(REQUIRE_SERVERS) == "1"
        and reporter
        and reporter.stats.get("skipped")
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get(REQUIRE_SERVERS) == "1":
        terminalreporter.write_line(
            f"{REQUIRE_SERVERS}=1 and {len(skipped)} skipped: the run fails.", red=True
        )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """An async test has a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """How one test has logs written does not reach the next."""
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers, logging.root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run; a test takes a database of its own."""
    with postgres() as running:
        yield running
