"""A pytest plugin of `make prove`: writes what ran, on what, and how it ended to docs/proof.md.

A run of some of the tests (`make prove ONLY=kills`) leaves the others' rows as they are: each names its commit.
"""

import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

PROOF = Path(__file__).parents[1] / "docs" / "proof.md"
HEAD = "| test | outcome | seconds | what it counted | commit, day |\n|---|---|---|---|---|"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What measures how soon an answer comes runs last: few other tests are left beside it by then."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/site/test_wrong_keys.py"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [
        report
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" or outcome != "passed"
    ]
    rows = dict(_kept()) if config.option.keyword else {}
    rows |= {_name(report): _row(report) for report in reports}
    PROOF.write_text("\n".join([*_introduction(), HEAD, *(rows[name] for name in sorted(rows))]) + "\n")
    terminalreporter.write_line(f"Written: {PROOF}")


def _kept() -> Iterator[tuple[str, str]]:
    """The rows of the last run, by their tests."""
    lines = PROOF.read_text().splitlines() if PROOF.exists() else []
    for line in lines[lines.index(HEAD.splitlines()[1]) + 1 :] if HEAD.splitlines()[1] in lines else []:
        yield line.split(" | ")[0].removeprefix("| "), line


def _introduction() -> Iterator[str]:
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "# Proof\n"
    yield "What `make prove` ran last, written by it. A claim of reliability elsewhere cites this page.\n"
    yield f"{machine}.\n"


def _row(report: pytest.TestReport) -> str:
    counted = "; ".join(f"{name}: {value}" for name, value in report.user_properties)
    what = f"| {_name(report)} | {report.outcome} | {report.duration:.0f} | {counted}"
    return f"{what} | {_commit()}, {datetime.now(UTC):%Y-%m-%d} |"


def _name(report: pytest.TestReport) -> str:
    return report.nodeid.partition("::")[2].partition("@")[0].replace("_", " ").replace("|", "/")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
