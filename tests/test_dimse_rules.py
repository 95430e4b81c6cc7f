"""Each rule of docs/dimse.md names a test that exists."""

import re
from pathlib import Path

import pytest

from tests.test_architecture import definitions_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "dimse.md").read_text()
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| rule")]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)` \|")


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip("| ") for row in ROWS])
def test_the_test_of_a_rule_is_there(row: list[str]) -> None:
    assert len(row) == 3
    found = TEST.fullmatch(row[2])
    assert found, row[2]
    assert found[2] in definitions_of(ROOT / found[1])


def test_no_rule_stands_twice() -> None:
    assert len({row[0] for row in ROWS}) == len(ROWS) > 30
