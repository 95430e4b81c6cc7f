from typing import Any

import pytest

from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, PortalError
from portal.ingest import incoming, routing
from portal.ingest.placement import Placement
from portal.ingest.routing import Sender
from portal.models import Audit, Peer, RoutingRule, Study
from portal.peers import peers, routing_rules
from portal.tree import projects
from tests.fixtures.archive import a_project, an_object, encode
from tests.fixtures.cli import Portal

ALL = (("neuro/head", "rw"), ("neuro/heart", "rw"))


@pytest.fixture
def scanner(site: Any, admin: Actor) -> Peer:
    """A peer that may store to two projects, of which none is its default."""
    a_project("head", actor=admin)
    a_project("heart", actor=admin)
    return peers.register("SCANNER", ae_title="SCANNER", services=("store",), projects=ALL, actor=admin)


def project_of(peer: Peer, *, called: str = "PORTICO", **header: Any) -> str:
    """The project in which an object arrives that this peer sends, in a new study unless said otherwise."""
    number = Study.select().count()
    uids = {"StudyInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": f"1.2.4.{number}"}
    ds = an_object(**{**uids, "SOPInstanceUID": f"1.2.5.{number}", **header})
    actor = Actor(type="peer", id=str(peer.id), name=peer.label, via="C-STORE")
    with incoming.open(
        scope=rights.scope(actor),
        origin=actor.origin,
        placement=Placement(store_to=peer.store_to_id, sender=Sender(peer_id=peer.id, called=called)),
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    ) as received:
        received.write(encode(ds))
        received.commit()
    return str(Study.select().order_by(Study.id.desc()).get().project.label)


def test_without_a_rule_that_fits_an_object_goes_to_unsorted(scanner: Peer, admin: Actor) -> None:
    routing_rules.add(project="neuro/head", modality="MR", actor=admin)
    assert project_of(scanner) == "Unsorted"


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"modality": "CT"}, True),
        ({"modality": "MR"}, False),
        ({"modality": "C?"}, True),
        ({"description": "head*"}, True),
        ({"description": "*CONTRAST"}, True),
        ({"description": "head"}, False),
        ({"description": "h.*"}, False),
        ({"body_part": "[SB]*"}, False),
        ({"body_part": "skull"}, True),
        ({"patient_id": "TRIAL-??-*"}, True),
        ({"patient_id": "TRIAL-?-*"}, False),
        ({"called": "HEADS"}, True),
        ({"called": "heads"}, False),
        ({"peer": "SCANNER"}, True),
        ({"peer": "OTHER"}, False),
        ({"modality": "CT", "body_part": "HEART"}, False),
    ],
    ids=str,
)
def test_a_rule_fits_where_each_of_its_conditions_does(
    scanner: Peer, admin: Actor, rule: dict[str, str], fits: bool
) -> None:
    peers.register("OTHER", ae_title="OTHER", actor=admin)
    routing_rules.add(project="neuro/head", actor=admin, **rule)
    said = {"StudyDescription": "Head with contrast", "BodyPartExamined": "SKULL", "PatientID": "TRIAL-07-1"}
    assert project_of(scanner, called="HEADS", **said) == ("head" if fits else "Unsorted")


def test_the_first_enabled_rule_decides_and_order_and_switch_apply_at_once(scanner: Peer, admin: Actor) -> None:
    first = routing_rules.add(project="neuro/head", actor=admin)
    second = routing_rules.add(project="neuro/heart", actor=admin)
    assert project_of(scanner) == "head"
    routing_rules.change(second.id, position=1, actor=admin)
    assert [view["id"] for view in routing_rules.views()] == [second.id, first.id]
    assert project_of(scanner) == "heart"
    routing_rules.change(second.id, enabled=False, actor=admin)
    assert project_of(scanner) == "head"
    routing_rules.remove(first.id, actor=admin)
    assert project_of(scanner) == "Unsorted"


def test_a_rule_whose_project_the_peer_may_not_store_to_is_passed_over(scanner: Peer, admin: Actor) -> None:
    a_project("secret", actor=admin)
    routing_rules.add(project="neuro/secret", actor=admin)
    routing_rules.add(project="neuro/heart", actor=admin)
    assert project_of(scanner) == "heart"


def test_an_element_names_the_project_and_only_one_that_the_peer_may_store_to(scanner: Peer, admin: Actor) -> None:
    a_project("secret", actor=admin)
    rule = routing_rules.add(tag="StudyComments", actor=admin)
    assert rule.tag == "00324000"
    assert project_of(scanner, StudyComments="neuro/heart") == "heart"
    for text in ("neuro/secret", "neuro/none", "neuro", "../heart", "neuro/heart\\neuro/head", ""):
        assert project_of(scanner, StudyComments=text) == "Unsorted"


def test_the_projects_study_and_the_default_project_of_the_peer_come_before_rules(scanner: Peer, admin: Actor) -> None:
    routing_rules.add(project="neuro/head", modality="CT", actor=admin)
    assert project_of(scanner) == "head"
    known = {"StudyInstanceUID": "1.2.3.0", "Modality": "SR", "SOPInstanceUID": "1.2.5.9"}
    assert project_of(scanner, SeriesInstanceUID="1.2.4.9", **known) == "head"
    assert Study.select().count() == 1
    assert project_of(peers.edit("SCANNER", store_to="neuro/heart", actor=admin)) == "heart"


def test_a_process_learns_of_a_change_by_another_one_within_a_second(
    scanner: Peer, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = routing_rules.add(project="neuro/head", actor=admin)
    assert project_of(scanner) == "head"
    RoutingRule.delete().where(RoutingRule.id == rule.id).execute()  # as another process does
    assert project_of(scanner) == "head"
    monkeypatch.setattr(routing.time, "monotonic", lambda now=routing.time.monotonic: now() + 1.0)
    assert project_of(scanner) == "Unsorted"


def test_a_rule_goes_with_its_peer_and_matches_no_other(scanner: Peer, admin: Actor) -> None:
    peers.register("OTHER", ae_title="OTHER", actor=admin)
    routing_rules.add(project="neuro/head", peer="OTHER", actor=admin)
    peers.remove("OTHER", actor=admin)
    assert routing_rules.views() == []
    assert project_of(scanner) == "Unsorted"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "one target"),
        ({"project": "neuro/head", "tag": "StudyComments"}, "one target"),
        ({"project": "neuro/none"}, "no project"),
        ({"project": "unknown/Unsorted"}, "anyway"),
        ({"tag": "NoSuchKeyword"}, "no element"),
        ({"tag": "0002,0010"}, "no element"),
        ({"tag": "00000000"}, "no element"),
        ({"project": "neuro/head", "peer": "Nobody"}, "Nobody"),
        ({"project": "neuro/head", "called": "A" * 17}, "at most 16"),
        ({"project": "neuro/head", "patient_id": "x" * 65}, "at most 64"),
        ({"project": "neuro/head", "position": 5}, "from 1 to 1"),
    ],
    ids=str,
)
def test_a_bad_rule_is_refused_in_words_and_changes_nothing(
    scanner: Peer, admin: Actor, fields: dict[str, Any], words: str
) -> None:
    projects.ensure_unsorted()
    with pytest.raises(PortalError, match=words) as refused:
        routing_rules.add(**fields, actor=admin)
    assert isinstance(refused.value, BadValue | Missing)
    assert routing_rules.list_all() == []


def test_the_command_adds_lists_changes_and_removes_rules_and_all_is_audited(portal: Portal) -> None:
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/head")
    portal.ok("peer", "add", "CT 1", "--ae-title", "CT1")
    added = portal.ok("rule", "add", "--to", "neuro/head", "--peer", "CT 1", "--modality", "CT")
    assert (added["position"], added["project"], added["peer"], added["modality"]) == (1, "neuro/head", "CT 1", "CT")
    number = str(added["id"])
    changed = portal.ok("rule", "set", number, "--peer", "", "--disable")
    assert (changed["peer"], changed["enabled"], changed["modality"]) == (None, False, "CT")
    assert portal.ok("rule", "list") == [changed]
    portal.ok("rule", "remove", number)
    assert portal.ok("rule", "list") == []
    assert portal("rule", "remove", number).code == 1
    assert portal("rule", "set", number).code == 2
    acts = [row.action for row in Audit.select().where(Audit.target_type == "rule").order_by(Audit.id)]
    assert acts == ["rule:added", "rule:changed", "rule:removed"]
