import pytest

from portal import models
from portal.access.actors import Actor
from portal.errors import BadValue
from portal.models import Peer
from portal.peers import limits, peers, query_settings, user_identity
from portal.settings import Settings


@pytest.fixture
def peer(site: Settings, admin: Actor) -> Peer:
    return peers.register("SCANNER", ae_title="SCANNER", actor=admin)


def test_a_peer_keeps_what_is_not_named(peer: Peer, admin: Actor) -> None:
    peers.edit("SCANNER", max_associations="3", lenient_queries=True, answer_character_set="ISO_IR 192", actor=admin)
    view = peers.view(peers.edit("SCANNER", assumed_character_set="iso-ir 100", actor=admin))
    assert (view["max_associations"], view["lenient_queries"]) == (3, True)
    assert (view["answer_character_set"], view["assumed_character_set"]) == ("ISO_IR 192", "ISO_IR 100")
    assert peers.view(peers.edit("SCANNER", max_associations="", actor=admin))["max_associations"] is None


def test_a_password_stays_until_another_one_is_given(peer: Peer, admin: Actor) -> None:
    fields = {"identity": "required", "identity_user": "scanner"}
    peers.edit("SCANNER", identity_password="correct horse", actor=admin, **fields)
    first = user_identity.of(peers.get("SCANNER")).password_hash
    peers.edit("SCANNER", identity_password="", actor=admin, **fields)
    assert user_identity.of(peers.get("SCANNER")).password_hash == first
    peers.edit("SCANNER", identity_password="battery staple", actor=admin)
    assert user_identity.of(peers.get("SCANNER")).password_hash != first


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_associations", "-1"),
        ("max_associations", "201"),
        ("max_associations", "many"),
        ("assumed_character_set", "Latin 1"),
        ("answer_character_set", "ISO_IR 100\\nothing"),
        ("identity", "perhaps"),
        ("identity_user", "x" * 65),
        ("identity_password", "short"),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_field(peer: Peer, admin: Actor, field: str, value: str) -> None:
    before = peers.view(peer)
    with pytest.raises(BadValue) as refused:
        peers.edit("SCANNER", actor=admin, **{field: value})
    assert refused.value.field == field
    assert peers.view(peers.get("SCANNER")) == before


def test_limits_of_another_version_are_left_out(peer: Peer) -> None:
    with models.writing():
        Peer.update(limits={"incoming": 2, "of_another_version": 7}).where(Peer.id == peer.id).execute()
    assert limits.of(peers.get("SCANNER")) == limits.PeerLimits(incoming=2)


def test_a_caller_that_is_no_peer_has_the_settings_of_the_site(site: Settings) -> None:
    assert query_settings.of(None) == query_settings.QuerySettings()
