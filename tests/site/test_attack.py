"""The memory of each process of a site that is attacked from all sides at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.hostile import attackers

SECONDS = 90.0
MOST = 400 << 20
SOON = 10.0
"""Seconds in which all is answered, also beside another long round on the same cores; `make bench` has the times."""


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_no_process_takes_more_than_400_mib_while_the_site_is_attacked(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    found = attackers.run(tmp_path / "data", seconds=SECONDS)
    for role, size in sorted(found.peaks.items()):
        record_property(f"most MiB of {role}", size >> 20)
    for attack, number in sorted(found.attacks.items()):
        record_property(attack, f"{number:,}")
    assert {"web", "listener", "workers", "decoders"} <= set(found.peaks)
    assert max(found.peaks.values()) < MOST, found.peaks
    assert found.failures == []
    assert max((*found.pages, *found.echoes)) < SOON
    assert not any(" 5" in attack or "C000" in attack for attack in found.attacks), found.attacks
