"""Whoever guesses keys is told to wait, and the right key works meanwhile."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.fixtures.hostile import wrong_keys
from tests.fixtures.up import Up

ADDRESSES = 50
PER_MINUTE = 60
MOST_SECONDS = 0.05


@pytest.fixture
def site_with_key(tmp_path: Path) -> Iterator[tuple[Up, str]]:
    up = Up(tmp_path / "data")
    up.start()
    try:
        up.ready()
        up.portal("device", "add", "importer")
        key = up.portal("device", "key", "importer", "--name", "right").stdout.rpartition(": ")[2].strip()
        yield up, key
    finally:
        up.end()


def under_attack(up: Up, key: str, count: int) -> tuple[Counter[str], list[float], float]:
    """What the wrong keys were answered, how long each request with the right one took, and the seconds of it all."""
    session, times, began = requests.Session(), [], time.monotonic()
    attacker = wrong_keys.start(up.port, addresses=ADDRESSES, count=count)
    while attacker.poll() is None:
        sent = time.monotonic()
        answer = session.get(f"{up.url}/api/auth/status", headers={"Authorization": f"Bearer {key}"}, timeout=60)
        times.append(time.monotonic() - sent)
        assert answer.status_code == 200
        time.sleep(0.02)
    return wrong_keys.answers_of(attacker, 60), times, time.monotonic() - began


def assert_throttled(answers: Counter[str], count: int, seconds: float) -> None:
    """Each address has been told that its key is wrong sixty times a minute, and then to wait."""
    assert answers["401"] <= ADDRESSES * PER_MINUTE * (seconds // 60 + 2)
    assert answers["401"] + answers["429"] == count
    assert answers["429"] > 0


@pytest.mark.timeout(300)
def test_wrong_keys_from_fifty_addresses_are_throttled_while_the_right_one_works(
    site_with_key: tuple[Up, str],
) -> None:
    count = ADDRESSES * (PER_MINUTE + 10)
    answers, times, seconds = under_attack(*site_with_key, count)
    assert_throttled(answers, count, seconds)
    assert times


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_wrong_keys_are_throttled_and_the_right_one_is_answered_at_once(
    site_with_key: tuple[Up, str], record_property: Callable[[str, object], None]
) -> None:
    answers, times, seconds = under_attack(*site_with_key, 100_000)
    record_property("wrong keys", f"{sum(answers.values()):,} in {seconds:.0f} s, of these 429: {answers['429']:,}")
    record_property("right key, median", f"{statistics.median(times) * 1000:.1f} ms of {len(times):,}")
    record_property("right key, p99", f"{statistics.quantiles(times, n=100)[98] * 1000:.1f} ms")
    assert_throttled(answers, 100_000, seconds)
    assert statistics.median(times) < MOST_SECONDS
