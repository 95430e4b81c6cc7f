from typing import Any

import pytest

from portal.access import rights
from portal.access.actors import Actor, operator
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.models import Audit, Caller, Grant, Peer, Project
from portal.peers import associations, peers, refused_callers
from portal.settings import Settings
from portal.tree import groups, projects

ME = operator()


@pytest.fixture(autouse=True)
def two_projects(site: Settings) -> None:
    groups.add("neuro", "Neuro", actor=ME)
    projects.add("neuro/TRIAL1", actor=ME)
    projects.add("neuro/TRIAL2", actor=ME)


def add(label: str = "CT1", **fields: Any) -> Peer:
    return peers.register(label, **{"ae_title": label, "actor": ME, **fields})


def scope(peer: Peer) -> tuple[list[str], list[str]]:
    """The projects that a peer sees, in their order, and those that it stores to."""
    found = rights.scope(Actor(type="peer", id=str(peer.id)))
    names = {project.id: project.label for project in Project.select()}
    return [names[number] for number in found.projects], sorted(names[number] for number in found.stores)


def test_a_new_peer_may_echo_and_sees_no_project() -> None:
    peer = add()
    view = peers.view(peer)
    assert view["services"] == ["echo"]
    assert (view["projects"], view["all_projects"], view["store_to"], view["moves_to"]) == ([], False, None, [])
    assert (view["enabled"], view["state"]) == (True, "unknown")
    assert scope(peer) == ([], [])
    assert Audit.get().action == "group:added"
    assert Audit.select().order_by(Audit.id.desc()).get().action == "peer:registered"


def test_grants_are_kept_in_their_order_of_precedence() -> None:
    peer = add(projects=(("neuro/TRIAL2", "ro"), ("neuro/TRIAL1", "rw")), services=("find", "store", "echo"))
    assert scope(peer) == (["TRIAL2", "TRIAL1"], ["TRIAL1"])
    assert peers.view(peer)["projects"] == [
        {"project": "neuro/TRIAL2", "role": "ro"},
        {"project": "neuro/TRIAL1", "role": "rw"},
    ]
    assert peers.view(peer)["services"] == ["echo", "store", "find"]


def test_all_projects_are_all_but_the_unknown_ones_later_ones_too() -> None:
    projects.ensure_unsorted()
    peer = add(all_projects=True)
    projects.add("neuro/TRIAL3", actor=ME)
    assert scope(peer) == (["TRIAL1", "TRIAL2", "TRIAL3"], [])


def test_store_to_brings_the_right_to_store_there_and_nothing_to_see() -> None:
    peer = add(services=("store",), store_to="neuro/TRIAL1")
    assert scope(peer) == ([], ["TRIAL1"])
    peer = peers.edit("CT1", store_to=None, actor=ME)
    assert scope(peer) == ([], [])


def test_an_edit_changes_what_it_names_and_leaves_the_rest() -> None:
    add(projects=(("neuro/TRIAL1", "rw"),), host="10.0.0.7", port="104", addresses=("10.0.0.7",), our_ae_title="US")
    peer = peers.edit("CT1", port=11112, new_label="CT 1", actor=ME)
    view = peers.view(peer)
    assert (view["label"], view["host"], view["port"], view["our_ae_title"]) == ("CT 1", "10.0.0.7", 11112, "US")
    assert (view["addresses"], view["projects"]) == (["10.0.0.7/32"], [{"project": "neuro/TRIAL1", "role": "rw"}])
    act = Audit.select().order_by(Audit.id.desc()).get()
    assert (act.action, act.detail["before"]["port"], act.detail["after"]["port"]) == ("peer:edited", 104, 11112)


def test_from_some_projects_to_all_and_back() -> None:
    add(projects=(("neuro/TRIAL1", "ro"),))
    assert scope(peers.edit("CT1", all_projects=True, actor=ME))[0] == ["TRIAL1", "TRIAL2"]
    assert scope(peers.edit("CT1", projects=(("neuro/TRIAL2", "ro"),), actor=ME))[0] == ["TRIAL2"]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"ae_title": "A" * 17}, "ae_title", "17 characters"),
        ({"ae_title": "   "}, "ae_title", "at least one"),
        ({"ae_title": "A\\B"}, "ae_title", "backslash"),
        ({"ae_title": "Ä"}, "ae_title", "ASCII"),
        ({"our_ae_title": "A" * 17}, "our_ae_title", "17 characters"),
        ({"label": ""}, "label", "at least one"),
        ({"label": "x" * 65}, "label", "64"),
        ({"label": "any"}, "label", "every peer"),
        ({"host": "h", "port": 0}, "port", "1 to 65535"),
        ({"host": "h", "port": 65536}, "port", "1 to 65535"),
        ({"host": "h", "port": "http"}, "port", "1 to 65535"),
        ({"host": "h", "port": "-1"}, "port", "1 to 65535"),
        ({"host": "h"}, "port", "needs a port"),
        ({"port": 104}, "host", "needs a host"),
        ({"host": "no host", "port": 104}, "host", "not a host name"),
        ({"host": "1.2.3.456", "port": 104}, "host", "not a host name"),
        ({"host": "x" * 300, "port": 104}, "host", "not a host name"),
        ({"addresses": ("10.0.0.300",)}, "addresses", "not an address range"),
        ({"addresses": ("10.0.0.1/33",)}, "addresses", "not an address range"),
        ({"addresses": ("10.0.0.1/8",)}, "addresses", "10.0.0.0/8"),
        ({"addresses": ("",)}, "addresses", "not an address range"),
        ({"services": ("echo", "worklist")}, "services", "'worklist' is not a service"),
        ({"projects": (("neuro/NONE", "ro"),)}, "projects", "no project"),
        ({"projects": (("NONE", "ro"),)}, "projects", "GROUP/PROJECT"),
        ({"projects": (("neuro/TRIAL1", "admin"),)}, "projects", "not a role"),
        ({"projects": (("neuro/TRIAL1", "ro"), ("neuro/TRIAL1", "rw"))}, "projects", "twice"),
        ({"projects": (("neuro/TRIAL1", "ro"),), "all_projects": True}, "projects", "not both"),
        ({"projects": (("unknown/Unsorted", "ro"),)}, "projects", "admins only"),
        ({"store_to": "unknown/Unsorted"}, "store_to", "admins only"),
        ({"store_to": "neuro/NONE"}, "store_to", "no project"),
        ({"moves_to": ("NOBODY",)}, "moves_to", "no peer"),
        ({"tls_name": "two words"}, "tls_name", "not a host name"),
        ({"issuers": "-----BEGIN CERTIFICATE-----"}, "issuers", "no certificate in PEM form"),
        ({"pinned": "x" * 70_000}, "pinned", "at most 65,536"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence_and_changes_nothing(
    fields: dict[str, Any], field: str, said: str
) -> None:
    projects.ensure_unsorted()
    acts = Audit.select().count()
    with pytest.raises(BadValue) as refused:
        add(**{"label": "CT1", **fields})
    assert refused.value.field == field
    assert said in refused.value.message
    assert (Peer.select().count(), Grant.select().count(), Audit.select().count()) == (0, 0, acts)
    add()
    before = peers.view(peers.get("CT1"))
    changes = {"new_label" if name == "label" else name: value for name, value in fields.items()}
    with pytest.raises(BadValue):
        peers.edit("CT1", **changes, actor=ME)
    assert peers.view(peers.get("CT1")) == before


def test_a_label_that_is_taken_is_refused() -> None:
    add("CT1")
    add("CT2")
    with pytest.raises(Taken):
        add("CT1", ae_title="OTHER")
    with pytest.raises(Taken):
        peers.edit("CT2", new_label="CT1", actor=ME)
    peers.edit("CT2", new_label="CT2", actor=ME)


@pytest.mark.parametrize(
    ("one", "other"),
    [((), ()), (("10.0.0.0/8",), ()), (("10.0.0.0/8",), ("10.1.0.0/16",)), (("fe80::/16", "10.0.0.1"), ("10.0.0.1",))],
)
def test_two_peers_that_could_be_the_same_caller_are_refused(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    add("A", ae_title="CT", addresses=one)
    with pytest.raises(Taken) as refused:
        add("B", ae_title="CT", addresses=other)
    assert refused.value.field == "addresses"
    peers.disable("A", actor=ME)
    add("B", ae_title="CT", addresses=other)
    with pytest.raises(Taken):
        peers.enable("A", actor=ME)
    assert not peers.get("A").enabled


def test_one_title_on_two_addresses_is_two_peers() -> None:
    add("A", ae_title="CT", addresses=("10.0.0.1", "fe80::/16"))
    add("B", ae_title="CT", addresses=("10.0.0.2",))
    with pytest.raises(Taken):
        peers.edit("B", addresses=("10.0.0.0/24",), actor=ME)
    assert [peer.label for peer in peers.with_ae_title("CT")] == ["A", "B"]
    assert peers.with_ae_title("ct") == []


def test_a_peer_may_move_to_itself_and_to_those_that_it_is_given() -> None:
    viewer, other = add("VIEWER"), add("OTHER")
    peer = add("CT1", moves_to=("VIEWER",))
    assert [peers.may_move_to(peer, to) for to in (peer, viewer, other)] == [True, True, False]
    peer = peers.edit("CT1", moves_to=("any",), actor=ME)
    assert peers.may_move_to(peer, other)
    assert peers.view(peer)["moves_to"] == ["any"]


def test_a_removed_peer_takes_its_grants_and_is_no_destination_any_more() -> None:
    viewer = add("VIEWER", projects=(("neuro/TRIAL1", "ro"),), store_to="neuro/TRIAL2")
    add("CT1", moves_to=("VIEWER",))
    peers.remove("VIEWER", actor=ME)
    assert Grant.select().where(Grant.who_id == viewer.id).count() == 0
    assert peers.view(peers.get("CT1"))["moves_to"] == []
    with pytest.raises(Missing):
        peers.get("VIEWER")
    with pytest.raises(Missing):
        peers.remove("VIEWER", actor=ME)


def test_an_echo_needs_a_host(site: Settings) -> None:
    add("CT1")
    with pytest.raises(BadValue):
        peers.request_echo("CT1", actor=ME)


def test_only_an_admin_registers_edits_and_removes() -> None:
    add("CT1")
    nobody = Actor(type="user", id="7")
    for act in (
        lambda: peers.register("CT2", ae_title="CT2", actor=nobody),
        lambda: peers.edit("CT1", port=1, actor=nobody),
        lambda: peers.disable("CT1", actor=nobody),
        lambda: peers.remove("CT1", actor=nobody),
        lambda: peers.request_echo("CT1", actor=nobody),
    ):
        with pytest.raises(NotAllowed):
            act()


def test_how_the_last_call_ended_is_kept_with_its_moment() -> None:
    peer = add()
    peers.record_echo(peer.id, ok=False, message="Nothing answers.")
    first = peers.get("CT1")
    peers.record_echo(peer.id, ok=False, message="Nothing answers still.")
    second = peers.get("CT1")
    assert (second.state, second.message, second.since) == ("failed", "Nothing answers still.", first.since)
    peers.record_echo(peer.id, ok=True, message="It answered.")
    assert peers.get("CT1").state == "ok"
    assert peers.get("CT1").since > first.since


def refuse(calling: str = "NOBODY", **fields: Any) -> None:
    values: dict[str, Any] = {"called": "PORTICO", "address": "10.0.0.9", "reason": "unknown", "message": "Unknown."}
    refused_callers.record(calling=calling, **{**values, **fields})


def test_the_same_refusal_counts_up_and_another_reason_is_another_row() -> None:
    refuse()
    refuse()
    refuse(reason="called", called="OTHER")
    assert [(row.reason, row.count) for row in refused_callers.list_all()] == [("called", 1), ("unknown", 2)]


def test_an_ignored_caller_stays_ignored_and_is_counted() -> None:
    refuse()
    (row,) = refused_callers.list_all()
    assert refused_callers.ignore(row.id, actor=ME).decision == "ignored"
    refuse()
    assert [(row.decision, row.count) for row in refused_callers.list_all()] == [("ignored", 2)]
    assert refused_callers.list_all(decided=False) == []
    with pytest.raises(Missing):
        refused_callers.ignore(99, actor=ME)


def test_a_registered_caller_that_is_refused_again_is_shown_again() -> None:
    refuse()
    (row,) = refused_callers.list_all()
    peer = refused_callers.register(row.id, actor=ME, **{**refused_callers.suggested_fields(row.id), "label": "MR 1"})
    assert (peer.label, peer.ae_title, peer.addresses, peer.services) == ("MR 1", "NOBODY", ["10.0.0.9/32"], ["echo"])
    assert refused_callers.list_all(decided=False) == []
    peers.remove("MR 1", actor=ME)
    refuse()
    assert [row.calling for row in refused_callers.list_all(decided=False)] == ["NOBODY"]


def test_who_tries_many_titles_fills_no_disk() -> None:
    same = {"called": "P", "address": "10.0.0.9", "reason": "unknown", "message": ""}
    Caller.insert_many(
        [{"calling": f"T{number}", **same} for number in range(refused_callers.MAX_REFUSED_CALLERS + 5)]
    ).execute()
    refuse()
    assert Caller.select().count() == refused_callers.MAX_REFUSED_CALLERS
    assert refused_callers.list_all()[0].calling == "NOBODY"


def test_an_association_of_a_process_that_is_gone_reads_lost() -> None:
    peer = add()
    values: dict[str, Any] = {
        "role": "acceptor",
        "calling": "CT1",
        "called": "P",
        "address": "10.0.0.9",
        "contexts": [],
    }
    ours = associations.open(peer_id=peer.id, **values)
    gone = associations.open(peer_id=peer.id, **values)
    host, _, _ = associations.process_identity().partition(" ")
    row = associations.Association
    row.update(process=f"{host} 1 1").where(row.id == gone).execute()
    assert [associations.view(one)["outcome"] for one in associations.list_recent()] == ["lost", "open"]
    assert associations.mark_lost() == 1
    assert associations.mark_lost() == 0
    counts = {"echo": {"done": 1, "failed": 0}}
    associations.close(
        associations.Progress(association_id=ours, counts=counts, size=7), outcome="released", message=""
    )
    views = [associations.view(one) for one in associations.list_recent()]
    assert [(view["outcome"], view["counts"], view["bytes"]) for view in views] == [
        ("lost", {}, 0),
        ("released", counts, 7),
    ]
    assert [one.id for one in associations.list_recent(before=gone)] == [ours]
