"""A pytest plugin for CI: a skipped test fails the run, because nobody would look at it."""

from collections.abc import Generator

import pytest


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter else []


# The outermost: no second look at what failed takes this away.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    status = yield
    return pytest.ExitCode.TESTS_FAILED if status == pytest.ExitCode.OK and _skipped(config) else status


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for report in _skipped(config):
        terminalreporter.write_line(f"Skipped, which fails a run in CI: {report.nodeid}", red=True)
