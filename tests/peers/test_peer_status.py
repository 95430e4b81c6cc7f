import random
from datetime import UTC, datetime, timedelta

import pytest

from portal.models import Peer, writing
from portal.peers import peer_status
from portal.settings import Settings

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATES = ("unknown", "ok", "failed")
EDGES = (-timedelta.resolution, timedelta(), timedelta.resolution)
"""A microsecond to either side of the moment at which a peer becomes silent."""


@pytest.fixture
def stopped_clock(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_status, "now", lambda: MOMENT)


def a_contact(chance: random.Random) -> datetime | None:
    """None, at or beside the edge, or anywhere in two days; half of them on a whole second."""
    kind = chance.randrange(4)
    if kind == 0:
        return None
    if kind == 1:
        return MOMENT - peer_status.SILENT_AFTER + chance.choice(EDGES)
    contact = MOMENT - timedelta(microseconds=chance.randrange(172_800_000_000))
    return contact.replace(microsecond=0) if kind == 2 else contact


def random_peers(number: int) -> None:
    chance = random.Random(12)  # the same rows each time: a failure can be looked at again
    with writing():
        for count in range(number):
            Peer.create(
                label=f"P{count}",
                ae_title=f"P{count}",
                enabled=chance.random() < 0.8,
                state=chance.choice(STATES),
                last_seen=a_contact(chance),
                last_answered=a_contact(chance),
            )


def test_the_status_of_a_peer_is_the_same_in_python_and_in_sql(stopped_clock: None) -> None:
    random_peers(600)
    in_sql = dict(Peer.select(Peer.id, peer_status.current_sql()).tuples())
    in_python = {peer.id: peer_status.current(peer) for peer in Peer.select()}
    assert in_sql == in_python
    assert set(in_python.values()) == {"disabled", "silent", *STATES}


def test_the_last_contact_of_a_peer_is_the_same_in_python_and_in_sql(stopped_clock: None) -> None:
    random_peers(300)
    in_sql = dict(Peer.select(Peer.id, peer_status.last_contact_sql()).tuples())
    in_python = {peer.id: Peer.last_seen.db_value(peer_status.last_contact(peer)) for peer in Peer.select()}
    assert in_sql == in_python
    assert None in in_python.values()
