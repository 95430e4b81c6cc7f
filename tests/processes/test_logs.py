"""What stands in the log of a process is a line for each message, whatever it names."""

import io
import logging

import pytest

from portal.processes.logs import OneLineFormatter

FORGED = "\n2026-01-01 00:00:00,000 CRITICAL portal.devices.api_keys key refused"


@pytest.fixture
def written() -> tuple[logging.Logger, io.StringIO]:
    log, target = logging.Logger("portal.test"), io.StringIO()
    handler = logging.StreamHandler(target)
    handler.setFormatter(OneLineFormatter())
    log.addHandler(handler)
    return log, target


@pytest.mark.parametrize("ending", ["\n", "\r", "\x0b", "\x1b[2K", "\x85", "\u2028"])
def test_a_path_from_outside_writes_no_line_of_its_own(
    written: tuple[logging.Logger, io.StringIO], ending: str
) -> None:
    log, target = written
    log.error("%s %s failed", "GET", f"/data/{ending}{FORGED}")
    (line,) = target.getvalue().splitlines()
    assert line.endswith("CRITICAL portal.devices.api_keys key refused failed")


def test_what_an_error_says_stands_below_its_line(written: tuple[logging.Logger, io.StringIO]) -> None:
    log, target = written
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("it failed")
    first, *stack = target.getvalue().splitlines()
    assert first.endswith("ERROR portal.test it failed")
    assert len(stack) >= 4
    assert all(line.startswith("  ") for line in stack)
