import socket

import pytest
from pynetdicom import build_role
from pynetdicom.presentation import build_context

from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import associations, peers, refused_callers
from portal.tree import projects
from tests.fixtures.dimse import (
    OURS,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Listener,
    associated,
    newest_association,
    register,
    rejection,
    until,
)

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"


def results(listener: Listener, *sop_classes: str, calling: str = "SCANNER") -> dict[str, int]:
    """Result of each presentation context."""
    with associated(listener.port, [build_context(uid) for uid in sop_classes], calling=calling) as assoc:
        contexts = assoc.accepted_contexts + assoc.rejected_contexts
        return {str(context.abstract_syntax): context.result for context in contexts}


def refusals() -> list[tuple[str, str, str]]:
    return [(row.calling, row.called, row.reason) for row in refused_callers.list_all()]


def test_a_registered_peer_echoes_and_its_association_becomes_a_row(listener: Listener) -> None:
    peer = register()
    with associated(listener.port, [build_context(VERIFICATION)]) as assoc:
        assert assoc.send_c_echo().Status == 0
        row = newest_association()
        assert (row.peer_id, row.outcome, row.calling, row.called) == (peer.id, "open", "SCANNER", OURS)
    until(lambda: newest_association().outcome == "released", "the row says released")
    row = newest_association()
    assert row.counts == {"echo": {"done": 1, "failed": 0}}
    assert row.contexts == [{"sop_class": VERIFICATION, "transfer_syntax": EXPLICIT, "result": 0}]
    assert peers.get("SCANNER").last_seen is not None


def test_an_unknown_calling_title_is_rejected_and_shown_once_with_its_count(listener: Listener) -> None:
    assert rejection(listener.port, calling="NOBODY") == (1, 1, 3)
    assert rejection(listener.port, calling="NOBODY") == (1, 1, 3)
    (row,) = refused_callers.list_all()
    assert (row.calling, row.called, row.address, row.reason, row.count) == ("NOBODY", OURS, "127.0.0.1", "unknown", 2)
    assert associations.list_recent() == []


def test_a_refused_caller_is_registered_may_then_echo_and_its_refusal_is_resolved(listener: Listener) -> None:
    rejection(listener.port, calling="NOBODY")
    (row,) = refused_callers.list_all()
    assert (row.wanted, row.resolved) == (["echo"], None)
    peer = refused_callers.register(row.id, actor=operator(), **refused_callers.suggested_fields(row.id))
    assert (peer.label, peer.services, peer.addresses) == ("NOBODY", ["echo"], ["127.0.0.1/32"])
    assert results(listener, VERIFICATION, calling="NOBODY") == {VERIFICATION: 0}
    assert refused_callers.list_all(decided=False) == []
    assert refused_callers.get(row.id).resolved is not None


def test_a_disabled_peer_is_rejected_until_it_is_enabled(listener: Listener) -> None:
    register()
    peers.disable("SCANNER", actor=operator())
    assert rejection(listener.port, calling="SCANNER") == (1, 1, 3)
    assert refusals() == [("SCANNER", OURS, "disabled")]
    peers.enable("SCANNER", actor=operator())
    assert results(listener, VERIFICATION) == {VERIFICATION: 0}


def test_a_wrong_called_title_is_rejected(listener: Listener) -> None:
    register()
    assert rejection(listener.port, calling="SCANNER", called="ORTHANC") == (1, 1, 7)
    assert refusals() == [("SCANNER", "ORTHANC", "called")]


def test_a_project_title_needs_a_grant(listener: Listener) -> None:
    register()
    assert rejection(listener.port, calling="SCANNER", called="TRIAL2") == (1, 1, 7)
    assert refusals() == [("SCANNER", "TRIAL2", "grant")]
    peers.edit("SCANNER", projects=(("neuro/TRIAL2", "ro"),), store_to=None, actor=operator())
    with associated(listener.port, [build_context(VERIFICATION)], called="TRIAL2") as assoc:
        assert assoc.is_established


def test_another_address_is_held_and_tried_again_later(listener: Listener) -> None:
    register(addresses=("10.0.0.0/8",))
    assert rejection(listener.port, calling="SCANNER") == (2, 1, 1)
    assert refusals() == [("SCANNER", OURS, "address")]
    peers.edit("SCANNER", addresses=("127.0.0.0/8",), actor=operator())
    assert results(listener, VERIFICATION) == {VERIFICATION: 0}


def test_of_two_peers_with_one_title_the_address_decides(listener: Listener) -> None:
    register("FAR", ae_title="CT", addresses=("10.0.0.0/8",))
    near = register("NEAR", ae_title="CT", addresses=("127.0.0.1",))
    results(listener, VERIFICATION, calling="CT")
    assert newest_association().peer_id == near.id


def test_titles_are_compared_exactly(listener: Listener) -> None:
    register()
    assert rejection(listener.port, calling="scanner") == (1, 1, 3)
    assert rejection(listener.port, calling="SCANNER", called="portico") == (1, 1, 7)


def test_a_service_that_is_not_allowed_has_its_contexts_refused(listener: Listener) -> None:
    register(services=("echo", "find"))
    worklist = "1.2.840.10008.5.1.4.31"
    assert results(listener, VERIFICATION, STUDY_FIND, STUDY_MOVE, STUDY_GET, SECONDARY_CAPTURE, worklist) == {
        VERIFICATION: 0,
        STUDY_FIND: 0,
        STUDY_MOVE: 1,
        STUDY_GET: 1,
        SECONDARY_CAPTURE: 1,
        worklist: 3,
    }
    (row,) = refused_callers.list_all()
    assert (row.reason, row.message) == (
        "service",
        "SCANNER is not allowed to get, move, store. Allow it under Allowed services.",
    )


def test_a_new_peer_may_only_echo(listener: Listener) -> None:
    peers.register("NEW", ae_title="NEW", actor=operator())
    assert results(listener, VERIFICATION, STUDY_FIND, SECONDARY_CAPTURE, calling="NEW") == {
        VERIFICATION: 0,
        STUDY_FIND: 1,
        SECONDARY_CAPTURE: 1,
    }


def test_retired_private_and_future_storage_classes_are_accepted_and_those_without_a_patient_are_not(
    listener: Listener,
) -> None:
    register()
    retired, private, future = "1.2.840.10008.5.1.4.1.1.6", "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.66.99"
    hanging, printer = "1.2.840.10008.5.1.4.38.1", "1.2.840.10008.5.1.1.1"
    assert results(listener, retired, private, future, hanging, printer) == {
        retired: 0,
        private: 0,
        future: 0,
        hanging: 3,
        printer: 3,
    }


@pytest.mark.parametrize(
    ("proposed", "taken"),
    [
        ([IMPLICIT, EXPLICIT, JPEG], EXPLICIT),
        ([IMPLICIT, JPEG, EXPLICIT], JPEG),
        ([BIG_ENDIAN, IMPLICIT, EXPLICIT], EXPLICIT),
        ([IMPLICIT, BIG_ENDIAN], IMPLICIT),
        ([BIG_ENDIAN, IMPLICIT], BIG_ENDIAN),
        (["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.7.1", IMPLICIT], IMPLICIT),
    ],
)
def test_the_requestors_first_transfer_syntax_is_taken_but_for_implicit_and_big_endian(
    listener: Listener, proposed: list[str], taken: str
) -> None:
    register()
    with associated(listener.port, [build_context(SECONDARY_CAPTURE, proposed)]) as assoc:
        assert assoc.accepted_contexts[0].transfer_syntax == [taken]


def test_references_to_pixels_elsewhere_are_no_transfer_syntax_of_ours(listener: Listener) -> None:
    register()
    contexts = [build_context(VERIFICATION), build_context(SECONDARY_CAPTURE, ["1.2.840.10008.1.2.4.94"])]
    with associated(listener.port, contexts) as assoc:
        assert [context.result for context in assoc.rejected_contexts] == [4]


def test_for_a_get_we_take_the_syntax_that_everything_can_be_sent_in(listener: Listener) -> None:
    register(services=("get",))
    contexts = [build_context(STUDY_GET), build_context(SECONDARY_CAPTURE, [JPEG, IMPLICIT, EXPLICIT])]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    with associated(listener.port, contexts, roles=roles) as assoc:
        (context,) = [cx for cx in assoc.accepted_contexts if cx.abstract_syntax == SECONDARY_CAPTURE]
        assert (context.transfer_syntax, context.as_scp, context.as_scu) == ([EXPLICIT], True, False)


def test_anyone_may_echo_where_the_site_says_so_and_nothing_else(listener: Listener) -> None:
    options.change({"dimse.echo_anyone": True}, actor=operator())
    assert results(listener, VERIFICATION, STUDY_FIND, calling="NOBODY") == {VERIFICATION: 0, STUDY_FIND: 1}
    assert rejection(listener.port, calling="NOBODY", called="TRIAL2") == (1, 1, 3)


def test_the_site_may_echo_itself_without_leaving_a_row(listener: Listener) -> None:
    with associated(listener.port, [build_context(VERIFICATION)], calling=OURS) as assoc:
        assert assoc.send_c_echo().Status == 0
    assert associations.list_recent() == []


def test_a_title_with_control_characters_is_rejected_and_shown_without_them(listener: Listener) -> None:
    assert _reject_raw(listener.port, b"EVIL\x01\n\\      ", OURS.encode()) == (1, 1, 3)
    assert [row.calling for row in refused_callers.list_all()] == ["EVIL??\\"]


def _reject_raw(port: int, calling: bytes, called: bytes) -> tuple[int, int, int]:
    """The answer to an A-ASSOCIATE-RQ with titles that pynetdicom would not send (PS3.8 9.3.2)."""
    abstract = b"\x30\x00" + len(VERIFICATION).to_bytes(2) + VERIFICATION.encode()
    transfer = b"\x40\x00" + len(IMPLICIT).to_bytes(2) + IMPLICIT.encode()
    body = b"\x01\x00\x00\x00" + abstract + transfer
    context = b"\x20\x00" + len(body).to_bytes(2) + body
    application = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"
    user = b"\x51\x00\x00\x04\x00\x00\x40\x00" + b"\x52\x00\x00\x03" + b"1.2"
    items = application + context + b"\x50\x00" + len(user).to_bytes(2) + user
    content = b"\x00\x01\x00\x00" + called.ljust(16) + calling.ljust(16) + bytes(32) + items
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\x01\x00" + len(content).to_bytes(4) + content)
        answer = connection.recv(10)
    assert answer[0] == 3, answer
    return answer[7], answer[8], answer[9]


def test_a_project_title_is_for_its_project(listener: Listener) -> None:
    projects.add("neuro/TRIAL3", "TRIAL3", actor=operator())
    register(projects=(("neuro/TRIAL3", "ro"),), store_to=None)
    with associated(listener.port, [build_context(STUDY_FIND)], called="TRIAL3") as assoc:
        assert assoc.is_established
