"""A pytest plugin of `make prove`: writes what ran, on what, and how it ended to docs/proof.md."""

import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[1] / "docs" / "proof.md"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" or outcome != "passed"
    ]
    PROOF.write_text("\n".join(_lines(reports)) + "\n")
    terminalreporter.write_line(f"Written: {PROOF}")


def _lines(reports: list[pytest.TestReport]) -> Iterator[str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    yield "# Proof\n"
    yield "What `make prove` ran last, written by it. A claim of reliability elsewhere cites this page.\n"
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield f"Commit {commit.strip()}, {datetime.now(UTC):%Y-%m-%d}, {machine}.\n"
    yield "| test | outcome | seconds | what it counted |"
    yield "|---|---|---|---|"
    for report in reports:
        counted = "; ".join(f"{name}: {value}" for name, value in report.user_properties)
        name = report.nodeid.partition("::")[2].replace("_", " ")
        yield f"| {name} | {report.outcome} | {report.duration:.0f} | {counted} |"
