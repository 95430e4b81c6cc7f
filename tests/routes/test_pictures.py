"""The last 24 hours as a picture, and what a peer may see in fact."""

import ast
import re
from datetime import timedelta

from portal import hourly_charts
from portal.access.actors import Actor
from portal.models import Association, database, now
from portal.peers import associations, peers
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import Visitor, statements, text_of


def drawn(page: str, kind: str) -> int:
    """How many bars of one kind the page has."""
    return sum(shape.count("M") for shape in re.findall(rf'<path class="{kind}" d="([^"]*)"', page))


def called(peer_id: int, outcome: str, *, hours_ago: int = 0) -> None:
    row = associations.open(peer_id=peer_id, role="acceptor", calling="A", called="B", address="10.0.0.1", contexts=[])
    started = now() - timedelta(hours=hours_ago)
    Association.update(outcome=outcome, started=started, ended=now()).where(Association.id == row).execute()


def test_each_hour_has_a_bar_failures_in_it_and_silence_a_stub(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer, other = (peers.register(label, ae_title=label, actor=admin) for label in ("CT1", "CT2"))
    assert "no activity" in visitor.get(f"/interfaces/peers/{peer.id}").text
    for outcome in ("released", "released", "aborted"):
        called(peer.id, outcome, hours_ago=3)
    called(peer.id, "released", hours_ago=30)
    called(other.id, "released")

    day = hourly_charts.associations(peer.id)
    assert [(hour.all, hour.failed) for hour in day.hours if hour.all] == [(3, 1)]
    assert (day.hours[20].all, len(day.hours)) == (3, 24)

    page = visitor.get(f"/interfaces/peers/{peer.id}").text
    assert "Last 24 hours: 3 associations, 1 failed, busiest" in page
    assert {kind: drawn(page, kind) for kind in ("bar", "bar-bad", "stub")} == {"bar": 1, "bar-bad": 1, "stub": 23}
    assert "style=" not in page


def test_an_association_that_was_released_fails_where_operations_within_it_did(admin: Actor, dimse: None) -> None:
    peer = peers.register("CT1", ae_title="CT1", actor=admin)
    for failed in (0, 2):
        row = associations.open(
            peer_id=peer.id, role="acceptor", calling="A", called="B", address="10.0.0.1", contexts=[]
        )
        counts = {"echo": {"done": 1, "failed": 0}, "store": {"done": 1, "failed": failed}}
        done = associations.Progress(association_id=row, counts=counts, size=0)
        associations.refresh([done])
        assert hourly_charts.associations(peer.id).failed == bool(failed)
        associations.close(done, outcome="released")

    day = hourly_charts.for_peers([peer.id])[peer.id]

    assert (day.all, day.failed) == (2, 1)
    assert hourly_charts.associations(peer.id) == day


def test_the_days_of_many_peers_are_one_statement_that_reads_an_index_alone(admin: Actor, dimse: None) -> None:
    ids = [peers.register(f"CT{number}", ae_title=f"CT{number}", actor=admin).id for number in range(3)]
    called(ids[1], "aborted", hours_ago=1)

    with statements() as sent:
        days = hourly_charts.for_peers(ids)

    assert [days[number].failed for number in ids] == [0, 1, 0]
    assert len(sent) == 1
    plan = " ".join(
        row[3]
        for row in database.execute_sql(
            f"EXPLAIN QUERY PLAN {ast.literal_eval(sent[0])[0]}", ast.literal_eval(sent[0])[1]
        )
    )
    assert "USING COVERING INDEX association_peer_id_started" in plan


def test_a_peer_shows_what_it_sees_in_its_order(visitor: Visitor, dimse: None, admin: Actor) -> None:
    first, second = a_project("first", actor=admin), a_project("second", actor=admin)
    store(an_object(), second)
    grants = (("neuro/second", "rw"), ("neuro/first", "ro"))
    peer = peers.register("VIEWER", ae_title="VIEWER", projects=grants, actor=admin)

    page = text_of(visitor.get(f"/interfaces/peers/{peer.id}").text)
    assert "neuro/second read and store 1 neuro/first read 0" in page
    assert first.id < second.id

    bare = peers.register("BARE", ae_title="BARE", actor=admin)
    assert "No access yet: its queries find nothing." in text_of(visitor.get(f"/interfaces/peers/{bare.id}").text)
