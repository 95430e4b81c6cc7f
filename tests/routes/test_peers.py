"""The tab DICOM Peers: there while DIMSE is enabled; what its forms change, and what they refuse."""

import re
from datetime import timedelta

import pytest

from portal.access.actors import Actor
from portal.commitments import commitments, information
from portal.jobs import jobs
from portal.models import File, Job, Peer, now
from portal.peers import associations, peer_status, peers, refused_callers
from portal.tree import groups, projects
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import MOST_STATEMENTS, SETTINGS, Visitor, refusal, statements, text_of

PEER = {"label": "Viewer", "ae_title": "VIEWER", "services": ["echo", "find"], "sees": "none"}


def test_without_dimse_there_is_no_tab_and_no_page_of_peers(visitor: Visitor) -> None:
    assert "DICOM Peers" not in visitor.get("/interfaces/devices/").text
    for path in ("/interfaces/peers/", "/interfaces/peers/new", "/interfaces/peers/1"):
        answer = visitor.get(path)
        assert answer.status_code == 404
        assert "Enable it in Settings." in answer.text
    assert visitor.post("/interfaces/peers/new", PEER).status_code == 404
    assert peers.list_all() == []


def test_the_tab_is_there_once_dimse_is_enabled_in_settings(visitor: Visitor) -> None:
    visitor.post("/settings/dimse", {**SETTINGS, "enabled": "y"})

    assert "DICOM Peers" in visitor.get("/interfaces/devices/").text
    assert visitor.get("/interfaces/peers/").status_code == 200


def test_a_new_peer_may_echo_and_sees_nothing(visitor: Visitor, dimse: None) -> None:
    page = visitor.get("/interfaces/peers/new").text
    assert 'value="echo" checked' in page
    assert 'value="store" checked' not in page

    answer = visitor.post("/interfaces/peers/new", {**PEER, "services": "echo"}, follow_redirects=True)

    assert "Viewer is registered. Allowed services: echo." in text_of(answer.text)
    assert "No access yet: its queries find nothing." in text_of(answer.text)
    assert "Accepted from any address." in answer.text


def test_the_page_of_a_peer_says_once_what_it_may_do_in_each_project(
    visitor: Visitor, dimse: None, admin: Actor
) -> None:
    a_project("Brain", actor=admin)
    added = peers.register(
        "Viewer",
        ae_title="VIEWER",
        services=("echo", "find", "store"),
        projects=(("neuro/Brain", "ro"),),
        store_to="neuro/Brain",
        actor=admin,
    )

    page = text_of(visitor.get(f"/interfaces/peers/{added.id}").text)

    assert "neuro/Brain read and store" in page
    assert "to read" not in page


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", "", "The label needs at least one visible character."),
        ("label", "Taken", "There is a peer Taken already."),
        ("label", "any", "any means every peer"),
        ("ae_title", "VIEWER ROOM THREE", "VIEWER ROOM THREE has 17 characters; an AE title has at most 16."),
        ("ae_title", "", "An AE title needs at least one character"),
        ("ae_title", "A\\B", "no backslash"),
        ("ae_title", "ÄRZTE", "only ASCII"),
        ("port", "0", "0 is not a port. A port is a number from 1 to 65535."),
        ("port", "65536", "65536 is not a port."),
        ("port", "x", "x is not a port."),
        ("port", "", "A host needs a port too"),
        ("host", "a b", "not a host name"),
        ("host", "999.1.1.1", "not a host name"),
        ("addresses", "10.0.0.1/99", "is not an address range"),
        ("addresses", "10.0.0.1/24", "has bits beyond its mask"),
        ("addresses", "room 3", "is not an address range"),
        ("services", "brew", "'brew' is not a service."),
        ("projects", "nowhere/none", "There is no project"),
        ("projects", "nowhere", "Write it as GROUP/PROJECT."),
        ("store_to", "nowhere/none", "There is no project"),
        ("moves_to", "Nobody", "There is no peer 'Nobody' to move to."),
        ("our_ae_title", "x" * 17, "has 17 characters"),
    ],
)
def test_a_bad_peer_is_refused_beside_its_field_and_values_stay(
    visitor: Visitor, dimse: None, admin: Actor, field: str, value: str, message: str
) -> None:
    peers.register("Taken", ae_title="OTHER", addresses=("10.9.9.9",), actor=admin)
    sent = {**PEER, "host": "10.0.4.17", "port": "104", "sees": "some", "our_ae_title": "", field: value}

    answer = visitor.post("/interfaces/peers/new", sent)

    refusal(answer, message)
    assert f'id="{field}-e"' in answer.text
    assert field == "label" or 'value="Viewer"' in answer.text
    assert len(peers.list_all()) == 1


def test_a_peer_is_edited_and_keeps_what_is_not_named(visitor: Visitor, dimse: None, admin: Actor) -> None:
    a_project("trial", actor=admin)
    peer = peers.register("Viewer", ae_title="VIEWER", addresses=("10.0.4.17",), actor=admin)
    page = visitor.get(f"/interfaces/peers/{peer.id}/edit").text
    assert "10.0.4.17/32" in page

    sent = {
        "label": "Reading room 1",
        "ae_title": "VIEWER1",
        "host": "viewer.site.example",
        "port": "11112",
        "addresses": "10.0.4.17\n10.0.5.0/24",
        "services": ["echo", "find", "move"],
        "sees": "some",
        "projects": "neuro/trial:rw",
        "store_to": "neuro/trial",
        "moves_to": "any",
        "our_ae_title": "RAD",
    }
    visitor.post(f"/interfaces/peers/{peer.id}/edit", sent)

    view = peers.view(peers.by_id(peer.id))
    assert view["label"] == "Reading room 1"
    assert (view["host"], view["port"]) == ("viewer.site.example", 11112)
    assert view["addresses"] == ["10.0.4.17/32", "10.0.5.0/24"]
    assert view["projects"] == [{"project": "neuro/trial", "role": "rw"}]
    assert (view["store_to"], view["moves_to"], view["our_ae_title"]) == ("neuro/trial", ["any"], "RAD")
    again = dict.fromkeys(sent, "") | {"label": "Reading room 1", "ae_title": "VIEWER1", "sees": "none"}
    visitor.post(f"/interfaces/peers/{peer.id}/edit", {name: value for name, value in again.items() if value})
    view = peers.view(peers.by_id(peer.id))
    assert (view["projects"], view["store_to"], view["services"], view["addresses"]) == ([], None, [], [])


def test_what_a_form_of_a_peer_shows_can_be_sent_back_unchanged(visitor: Visitor, dimse: None, admin: Actor) -> None:
    a_project("trial", actor=admin)
    other = peers.register("Other", ae_title="OTHER", addresses=("10.9.9.9",), actor=admin)
    peer = peers.register(
        "Viewer",
        ae_title="VIEWER",
        host="10.0.4.17",
        port=104,
        addresses=("10.0.4.17",),
        services=("echo", "store"),
        projects=(("neuro/trial", "rw"),),
        store_to="neuro/trial",
        moves_to=("Other",),
        lenient_queries=True,
        assumed_character_set="ISO_IR 100",
        max_associations=3,
        identity="required",
        identity_user="viewer",
        identity_password="correct horse",
        actor=admin,
    )
    before = peers.view(peer)
    sent = {
        **{name: str(before[name]) for name in ("label", "ae_title", "host", "port", "our_ae_title", "store_to")},
        "services": before["services"],
        "addresses": "10.0.4.17/32",
        "sees": "some",
        "projects": "neuro/trial:rw",
        "moves_to": other.label,
        "lenient_queries": "y",
        **{
            name: str(before[name])
            for name in ("assumed_character_set", "max_associations", "identity", "identity_user")
        },
    }

    visitor.post(f"/interfaces/peers/{peer.id}/edit", sent)

    after = peers.view(peers.by_id(peer.id))
    assert {**after, "modified": None} == {**before, "modified": None}


def test_a_peer_is_disabled_enabled_and_removed_after_a_question(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", actor=admin)

    visitor.post(f"/interfaces/peers/{peer.id}/disable")
    assert not peers.by_id(peer.id).enabled
    visitor.post(f"/interfaces/peers/{peer.id}/enable")
    assert peers.by_id(peer.id).enabled

    assert "Remove peer Viewer?" in visitor.get(f"/interfaces/peers/{peer.id}/remove").text
    assert peers.list_all() != []
    answer = visitor.post(f"/interfaces/peers/{peer.id}/remove", follow_redirects=True)
    assert "Viewer is removed." in answer.text
    assert peers.list_all() == []
    assert visitor.post(f"/interfaces/peers/{peer.id}/remove").status_code == 404


def test_an_echo_is_a_job_and_its_page_asks_until_it_is_over(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", host="127.0.0.1", port=1, actor=admin)

    answer = visitor.post(f"/interfaces/peers/{peer.id}/echo")

    job = Job.get(Job.kind == "echo")
    assert answer.headers["Location"] == f"/interfaces/peers/{peer.id}?job={job.id}"
    assert f'hx-get="/interfaces/peers/{peer.id}?job={job.id}"' in visitor.get(answer.headers["Location"]).text
    jobs.finish(job, "failed", "Nothing answers on 127.0.0.1:1.")
    page = visitor.get(answer.headers["Location"]).text
    assert "Nothing answers on 127.0.0.1:1." in page
    assert "hx-get" not in page.split('id="test"')[1].split("</section>")[0]


def test_an_echo_without_a_host_says_what_is_missing(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", actor=admin)

    answer = visitor.post(f"/interfaces/peers/{peer.id}/echo")

    assert answer.status_code == 422
    assert "Viewer has no host and port to call. Add them to the peer." in answer.text
    assert not Job.select().exists()


def test_the_job_of_another_peer_is_not_shown(visitor: Visitor, dimse: None, admin: Actor) -> None:
    one = peers.register("One", ae_title="ONE", host="127.0.0.1", port=1, actor=admin)
    other = peers.register("Other", ae_title="OTHER", actor=admin)
    job_id = peers.request_echo(one.label, actor=admin)

    assert "Never tested." in visitor.get(f"/interfaces/peers/{other.id}?job={job_id}").text
    for nonsense in ("x", "-1", "9" * 30, "٣"):
        assert visitor.get(f"/interfaces/peers/{other.id}?job={nonsense}").status_code == 200


def test_the_form_for_a_refused_caller_gives_it_what_it_wanted(visitor: Visitor, dimse: None, admin: Actor) -> None:
    groups.add("neuro", actor=admin)
    projects.add("neuro/Brain", "BRAIN", actor=admin)
    wanted = ("echo", "store")
    told = {"calling": "CT2", "called": "BRAIN", "address": "10.0.4.12", "reason": "unknown", "message": "No."}
    refused_callers.record(**told, wanted=wanted)  # type: ignore[arg-type]
    [row] = refused_callers.list_all()

    page = visitor.get(f"/interfaces/peers/new?caller={row.id}").text

    assert "and requested echo, store." in text_of(page)
    for value in ("echo", "store"):
        assert f'value="{value}" checked' in page
    assert 'value="find" checked' not in page
    assert "neuro/Brain:rw" in page
    refusal(visitor.post(f"/interfaces/peers/new?caller={row.id}", {**PEER, "label": ""}), "at least one visible")
    assert refused_callers.get(row.id).decision == ""
    form = {**PEER, "label": "CT 2", "ae_title": "CT2", "services": ["echo", "store"], "store_to": "neuro/Brain"}
    visitor.post(f"/interfaces/peers/new?caller={row.id}", form)
    assert (refused_callers.get(row.id).decision, peers.get("CT 2").services) == ("registered", ["echo", "store"])
    assert "no call since" in text_of(visitor.get("/activity/refused").text)

    refused_callers.resolve(calling="CT2", address="10.0.4.12")
    assert "Resolved accepted just now" in text_of(visitor.get("/activity/refused").text)
    refused_callers.record(**told)  # type: ignore[arg-type]
    assert "Resolved it was" not in text_of(visitor.get("/activity/refused").text)


def test_a_refused_caller_is_registered_or_ignored(visitor: Visitor, dimse: None) -> None:
    for title in ("CT2", "NOISE"):
        message = f"{title} is not registered."
        refused_callers.record(calling=title, called="PORTICO", address="10.0.4.12", reason="unknown", message=message)
    by_title = {row.calling: row.id for row in refused_callers.list_all()}
    assert "CT2 is not registered." in visitor.get("/interfaces/peers/").text

    form = {**PEER, "label": "CT2", "ae_title": "CT2", "addresses": "10.0.4.12", "services": ["echo"]}
    answer = visitor.post(f"/interfaces/peers/new?caller={by_title['CT2']}", form, follow_redirects=True)
    assert "CT2 is registered. Allowed services: echo." in text_of(answer.text)
    assert peers.get("CT2").addresses == ["10.0.4.12/32"]

    visitor.post(f"/interfaces/peers/refused/{by_title['NOISE']}/ignore")
    page = visitor.get("/interfaces/peers/").text
    assert "is not registered." not in page
    assert "1 ignored" in page
    assert "Ignored" in visitor.get("/activity/refused?only=ignored").text
    assert visitor.post("/interfaces/peers/refused/99/ignore").status_code == 404


WARDS = (("CT", "10.0.0.1"), ("CT room", "10.0.0.2"))
HEARD = {
    "never": (None, None, "unknown"),
    "called lately": (1, None, "unknown"),
    "called long ago": (25, None, "silent"),
    "answered lately": (25, 1, "unknown"),
    "answered long ago": (None, 25, "silent"),
}
"""Hours since it called us and since it answered us, and the word of its state."""


def test_a_peer_that_gave_no_sign_of_life_for_a_day_is_silent(visitor: Visitor, dimse: None, admin: Actor) -> None:
    for label, hours in HEARD.items():
        peer = peers.register(label, ae_title=label.upper()[:16], addresses=("10.0.4.17",), actor=admin)
        seen, answered = (None if ago is None else now() - timedelta(hours=ago) for ago in hours[:2])
        Peer.update(last_seen=seen, last_answered=answered).where(Peer.id == peer.id).execute()
    words = {label: peer_status.current(peers.get(label)) for label in HEARD}
    assert words == {label: word for label, (_, _, word) in HEARD.items()}

    assert "All 5 Silent 2 Never tested 3" in text_of(visitor.get("/interfaces/peers/").text)
    silent = visitor.get("/interfaces/peers/?only=silent&format=csv").text
    assert silent.count("silent") == 2
    assert "lately" not in silent
    peers.disable("called long ago", actor=admin)
    assert "Silent 1" in text_of(visitor.get("/interfaces/peers/").text)


def test_a_silent_peer_whose_last_call_failed_says_both(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", addresses=("10.0.4.17",), actor=admin)
    peers.record_echo(peer.id, ok=False, message="Nothing answers on 10.0.4.17:104.")
    assert "Failed 1" in text_of(visitor.get("/interfaces/peers/").text)
    Peer.update(last_seen=now() - timedelta(days=2)).execute()

    row = text_of(visitor.get("/interfaces/peers/?only=silent").text.split("<tbody")[1])
    assert "Silent Nothing answers on 10.0.4.17:104." in row
    head = text_of(visitor.get(f"/interfaces/peers/{peer.id}").text.split("<h1")[1].split("</h1>")[1][:2000])
    assert head.startswith("Silent Failed")


def test_only_a_call_that_was_taken_is_a_sign_of_life(admin: Actor, site: None) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", actor=admin)
    call = {"peer_id": peer.id, "role": "requestor", "calling": "A", "called": "B", "address": "10.0.0.1"}

    associations.open(**call, contexts=[])
    assert peer_status.last_contact(peers.get("Viewer")) is None
    associations.open(**call, contexts=[{"accepted": True}])
    assert peer_status.last_contact(peers.get("Viewer")) is not None


def test_a_peer_leads_to_its_own_associations_and_conflicts(visitor: Visitor, dimse: None, admin: Actor) -> None:
    ids = [peers.register(label, ae_title="CT", addresses=(ip,), actor=admin).id for label, ip in WARDS]
    for number in ids:
        associations.open(peer_id=number, role="acceptor", calling="CT", called="B", address="10.0.0.1", contexts=[])
    project = a_project("trial", actor=admin)
    for content in ("one", "two"):
        store(an_object(PatientID=content), project)
    File.update(origin_type="peer", origin_id=str(ids[1])).execute()

    for number, conflicts in zip(ids, ("0 conflicts found", "1 conflict found"), strict=True):
        page = visitor.get(f"/interfaces/peers/{number}").text
        links = re.findall(r'href="(/[^"]*q=peer[^"]*)"', page)
        found = [text_of(visitor.get(link).text) for link in links]
        assert any("1 association found" in text for text in found)
        assert any(conflicts in text for text in found)


def test_a_peer_shows_who_changed_what_and_leads_to_the_whole(visitor: Visitor, dimse: None, admin: Actor) -> None:
    for number in range(11):
        peers.register(f"P{number}", ae_title=f"P{number}", actor=admin)
    peer = peers.get("P0")
    form = {"label": "P0", "ae_title": "P0", "services": ["echo", "find"], "sees": "all"}
    visitor.post(f"/interfaces/peers/{peer.id}/edit", form)
    visitor.post(f"/interfaces/peers/{peer.id}/disable")

    page = visitor.get(f"/interfaces/peers/{peer.id}").text

    told = text_of(page.split('aria-label="History"')[1].split("</section>")[0])
    assert (
        f"Disabled user {visitor.email} just now Edited all projects: no → yes services: echo → echo, find user" in told
    )
    assert "All associations" in page
    whole = text_of(visitor.get(f"/activity/audit?q=peer+{peer.id}").text)
    assert "3 events found" in whole
    assert "peer:edited" in whole


@pytest.mark.parametrize("page", ["", "/edit", "/remove", "?job=1"])
def test_a_page_of_a_peer_asks_the_database_at_most_fifteen_times(
    visitor: Visitor, dimse: None, admin: Actor, page: str
) -> None:
    a_project("trial", actor=admin)
    other = peers.register("Other", ae_title="OTHER", addresses=("10.9.9.9",), actor=admin)
    grants = {"projects": (("neuro/trial", "ro"),), "store_to": "neuro/trial", "moves_to": (other.label,)}
    peer = peers.register("Viewer", ae_title="VIEWER", host="127.0.0.1", port=1, actor=admin, **grants)
    peers.edit("Viewer", services=("find",), actor=admin)
    assert peers.request_echo("Viewer", actor=admin) == 1

    with statements() as sent:
        answer = visitor.get(f"/interfaces/peers/{peer.id}{page}")

    assert answer.status_code == 200
    assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)
    with statements() as sent:
        assert visitor.get("/interfaces/peers/new").status_code == 200
    assert len(sent) <= MOST_STATEMENTS


def test_the_page_of_a_peer_lists_its_storage_commitments(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", services=("echo",), actor=admin)
    path = f"/interfaces/peers/{peer.id}"
    assert "No requests yet. To let it ask us, allow the service commit." in text_of(visitor.get(path).text)
    peers.edit("Viewer", services=("echo", "commit"), actor=admin)
    assert "The peer may ask us to keep what it has sent." in text_of(visitor.get(path).text)

    asked = information.Summary(transaction_uid="1.2.3", count=2, digest="0")
    by = Actor(type="peer", id=str(peer.id), name="VIEWER")
    job = commitments.accept(peer, asked, actor=by, project_id=None, association_id=None)

    assert job is not None
    assert "Asked by the peer just now 0 of 2 Waiting" in text_of(visitor.get(path).text)
    assert "2 instances of Viewer" in text_of(visitor.get(f"/jobs/{job.id}").text)


def test_a_peer_may_be_asked_to_confirm_sends(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peer = peers.register("Viewer", ae_title="VIEWER", actor=admin)
    visitor.post(f"/interfaces/peers/{peer.id}/edit", {**PEER, "confirm_sends": "y"})

    assert peers.get("Viewer").confirm_sends
    assert "confirmed by storage commitment" in text_of(visitor.get(f"/interfaces/peers/{peer.id}").text)
