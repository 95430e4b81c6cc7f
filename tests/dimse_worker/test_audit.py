"""What peers do is in the audit log once their association has ended: one entry, and one for each study they got."""

from datetime import timedelta
from typing import Any

import pytest

from portal import models
from portal.access import audit_chain, session_readers
from portal.access.actors import operator
from portal.listing import ListRequest
from portal.listing import find as find_rows
from portal.models import Audit, now
from portal.peers import associations, peers, refused_callers
from tests.dimse_worker.test_retrieval import find, get, keys, move, objects, study, study_uid, viewer
from tests.fixtures.dimse import Destination, Encoded, Listener, register, rejection, store, until

__all__ = ["objects", "study_uid", "viewer"]


def entries(action: str) -> list[Audit]:
    return list(Audit.select().where(Audit.action == action).order_by(Audit.id))


def ended(number: int) -> list[Audit]:
    """The entries of this many associations, once they are there."""
    found: Any = until(lambda: len(entries("association:released")) >= number, "the end of the associations")
    assert found
    return entries("association:released")


def test_an_association_is_one_entry_with_who_where_and_counts(listener: Listener) -> None:
    peer = register()
    store(listener.port, study(3))
    find(listener.port, keys("STUDY", StudyInstanceUID=""))
    stored, queried = ended(2)
    assert (stored.actor_type, stored.actor_id, stored.address) == ("peer", str(peer.id), "127.0.0.1")
    assert (stored.target_type, stored.via) == ("association", "SCANNER 127.0.0.1")
    assert stored.detail["counts"]["store"]["done"] == 3
    assert queried.detail["counts"] == {"find": {"done": 1}}
    assert list(audit_chain.verify()) == []


def test_a_study_that_a_peer_gets_several_times_in_its_parts_is_one_entry_an_association(
    listener: Listener, viewer: Destination, objects: list[Encoded], study_uid: str
) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    get(listener.port, keys("STUDY", StudyInstanceUID=study_uid))
    move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "VIEWER")
    got, moved = until(lambda: len(found := entries("study:retrieved")) == 2 and found, "both retrievals")
    session = models.Session.get().id
    assert [(row.session, row.detail["instances"], row.detail["operation"]) for row in (got, moved)] == [
        (session, 3, "get"),
        (session, 3, "move"),
    ]
    assert moved.detail["destination"] == models.Peer.get(models.Peer.label == "VIEWER").id
    found = find_rows(session_readers.of_session(session), ListRequest()).rows
    assert [one.entry.who.name for one in found] == ["SCANNER", "SCANNER"]


def test_what_we_send_is_an_entry_about_the_peer(listener: Listener, viewer: Destination, study_uid: str) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "VIEWER")
    [sent] = [row for row in ended(3) if row.target_type == "peer"]
    assert (sent.actor_type, sent.target_id) == ("system", str(models.Peer.get(models.Peer.label == "VIEWER").id))


def test_a_caller_that_is_refused_again_and_again_is_one_entry_an_hour(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        rejection(listener.port, calling=f"STRANGER{number}")
    [refused] = entries("association:rejected")
    assert refused.detail == {"calling": "STRANGER0", "called": "PORTICO", "reason": "unknown"}
    assert (refused.address, refused.target_id) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.usefixtures("site")
def test_callers_from_ever_new_addresses_cannot_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_callers, "MAX_AUDITED_REFUSALS", 7)
    for number in range(20):
        refused_callers.record(
            calling="X", called="Y", address=f"10.0.0.{number}", reason="unknown", message="No peer."
        )
    assert len(entries("association:rejected")) == 7
    assert len(refused_callers.list_all()) == 20


@pytest.mark.usefixtures("site")
def test_an_association_that_a_killed_process_had_is_an_entry_too() -> None:
    peer = register(projects=(), store_to=None)
    row = models.Association.create(
        role="acceptor", calling="CT1", called="PORTICO", address="10.0.0.1", peer=peer, process="another-host 1 1"
    )
    models.Association.update(seen=now() - timedelta(minutes=5)).execute()
    associations.mark_lost()
    [lost] = entries("association:lost")
    assert (lost.actor_id, lost.target_id) == (str(peer.id), str(row.id))


def test_what_a_peer_got_before_a_process_was_killed_is_an_entry(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    get(listener.port, keys("STUDY", StudyInstanceUID=study_uid))
    until(lambda: entries("study:retrieved"), "the end of the retrieval")
    moment = now() - timedelta(minutes=5)
    job = models.Job.get()
    models.Association.update(outcome="open", ended=None, process="another-host 1 1", seen=moment).where(
        models.Association.id == job.association_id
    ).execute()
    associations.mark_lost()
    first, again = entries("study:retrieved")
    assert (again.target_id, again.session) == (first.target_id, first.session)
    assert (again.detail["instances"], again.detail["job"]) == (3, job.id)
