"""Rules for the whole test run."""

import os

import pytest

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
