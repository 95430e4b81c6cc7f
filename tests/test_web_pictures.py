"""The last 24 hours as a picture, and what a peer may see in fact."""

from datetime import timedelta

from archive_fixtures import a_project, an_object, store
from web_fixtures import Visitor, app, dimse, stranger, text_of, visitor

from portal import associations, peers, pictures
from portal.models import Association, now
from portal.provenance import Actor

__all__ = ["app", "dimse", "stranger", "visitor"]


def called(peer_id: int, outcome: str, *, hours_ago: int = 0) -> None:
    row = associations.open(peer_id=peer_id, role="acceptor", calling="A", called="B", address="10.0.0.1", contexts=[])
    started = now() - timedelta(hours=hours_ago)
    Association.update(outcome=outcome, started=started, ended=now()).where(Association.id == row).execute()


def test_each_hour_has_a_bar_failures_in_it_and_silence_a_stub(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer, other = (peers.register(label, ae_title=label, actor=admin) for label in ("CT1", "CT2"))
    assert "silent all day" in visitor.get(f"/interfaces/peers/{peer.id}").text
    for outcome in ("released", "released", "aborted"):
        called(peer.id, outcome, hours_ago=3)
    called(peer.id, "released", hours_ago=30)
    called(other.id, "released")

    day = pictures.associations(peer.id)
    assert [(hour.all, hour.failed) for hour in day.hours if hour.all] == [(3, 1)]
    assert (day.hours[20].all, len(day.hours)) == (3, 24)

    page = visitor.get(f"/interfaces/peers/{peer.id}").text
    assert "Last 24 hours: 3 associations, 1 failed, busiest" in page
    assert (page.count('class="bar"'), page.count('class="bar-bad"'), page.count('class="stub"')) == (1, 1, 23)
    assert "style=" not in page
    assert "Last 24 h by hour: 4 associations" in text_of(visitor.get("/activity/").text)


def test_a_peer_shows_what_it_sees_in_its_order(visitor: Visitor, dimse: None, admin: Actor) -> None:
    first, second = a_project("first", actor=admin), a_project("second", actor=admin)
    store(an_object(), second)
    grants = (("neuro/second", "rw"), ("neuro/first", "ro"))
    peer = peers.register("VIEWER", ae_title="VIEWER", projects=grants, actor=admin)

    page = text_of(visitor.get(f"/interfaces/peers/{peer.id}").text)
    assert "neuro/second read and store 1 neuro/first read 0" in page
    assert first.id < second.id

    bare = peers.register("BARE", ae_title="BARE", actor=admin)
    assert "No project yet: each of its queries finds nothing." in text_of(
        visitor.get(f"/interfaces/peers/{bare.id}").text
    )
