"""What an admin sets for a peer or the site, over real associations in both protocol paths."""

import re
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import build_context

from portal import site_settings
from portal.access.actors import operator
from portal.models import Association, Audit, Caller
from portal.peers import peers
from tests.fixtures.dimse import (
    STUDY_FIND,
    VERIFICATION,
    Encoded,
    Listener,
    associated,
    image,
    register,
    rejection,
    store,
    until,
)

PASSWORD = "correct horse battery"


def identity(kind: int, name: bytes = b"scanner", password: bytes = b"any", *, answer: bool = False) -> Any:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.positive_response_requested = kind, answer
    item.primary_field = name
    if kind == 2:
        item.secondary_field = password
    return item


def called_with(port: int, item: Any) -> tuple[str, Any]:
    """How an association with this user identity ended, and the answer to it or the code of the rejection."""
    contexts = [build_context(VERIFICATION)]
    with associated(port, contexts, roles=[item] if item else []) as assoc:
        primitive: Any = assoc.acceptor.primitive
        if assoc.is_rejected:
            return "rejected", (primitive.result, primitive.result_source, primitive.diagnostic)
        assert assoc.is_established
        return "accepted", assoc.acceptor.user_identity


def newest_refusal() -> Any:
    return until(lambda: Caller.select().order_by(Caller.last.desc()).first(), "a refusal is listed")


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_ps3_7_d_3_3_7_a_user_identity_is_ignored_unless_something_else_is_set(listener: Listener, kind: int) -> None:
    register()
    assert called_with(listener.port, identity(kind)) == ("accepted", None)


@pytest.mark.parametrize("kind", [1, 2])
def test_ps3_7_d_3_3_7_a_positive_response_is_given_where_it_is_requested(listener: Listener, kind: int) -> None:
    register()
    ended, answer = called_with(listener.port, identity(kind, answer=True))
    assert (ended, answer is not None) == ("accepted", True)
    assert answer.server_response in (None, b"")


def test_ps3_7_d_3_3_7_a_user_identity_is_refused_where_the_site_or_the_peer_says_so(listener: Listener) -> None:
    register()
    site_settings.change({"association.identity": "refused"}, actor=operator())
    assert called_with(listener.port, identity(1)) == ("rejected", (1, 1, 1))
    assert newest_refusal().reason == "identity"
    assert called_with(listener.port, None)[0] == "accepted"
    peers.edit("SCANNER", identity="ignored", actor=operator())
    assert called_with(listener.port, identity(1))[0] == "accepted"


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (None, "sent no user identity"),
        (identity(2, b"scanner", b"wrong"), "wrong user name or password"),
        (identity(2, b"other", PASSWORD.encode()), "wrong user name or password"),
        (identity(1), "sent a user name. Only a user name with a password"),
        (identity(3), "sent a Kerberos ticket. Only"),
        (identity(4), "sent a SAML assertion. Only"),
        (identity(5), "sent a JSON web token. Only"),
    ],
    ids=["none", "password", "user name", "type 1", "type 3", "type 4", "type 5"],
)
def test_ps3_7_d_3_3_7_another_user_identity_than_the_required_one_is_rejected_with_its_sentence(
    listener: Listener, item: Any, sentence: str
) -> None:
    register(identity="required", identity_user="scanner", identity_password=PASSWORD)
    assert called_with(listener.port, item) == ("rejected", (1, 1, 1))
    assert sentence in newest_refusal().message
    right = identity(2, b"scanner", PASSWORD.encode())
    assert called_with(listener.port, right)[0] == "accepted"
    until(lambda: newest_refusal().resolved, "the refusal is resolved")


def test_a_password_of_a_peer_is_written_nowhere(listener: Listener) -> None:
    register(identity="required", identity_user="scanner", identity_password=PASSWORD)
    called_with(listener.port, identity(2, b"scanner", PASSWORD.encode()))
    called_with(listener.port, identity(2, b"scanner", b"wrong battery"))
    until(lambda: Association.select().count() == 1, "the association is listed")
    written = repr([row.__data__ for table in (Audit, Caller, Association) for row in table.select()])
    written += repr(peers.view(peers.get("SCANNER"))) + listener.log.read_text()
    assert not re.search(r"horse battery|wrong battery|argon2", written)


def test_ps3_8_9_3_4_a_peer_has_so_many_associations_at_once_as_its_limit_says(listener: Listener) -> None:
    register(max_associations=2)
    register("OTHER", addresses=("127.0.0.1",))
    contexts = [build_context(VERIFICATION)]
    with ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(associated(listener.port, contexts)).is_established
        assert rejection(listener.port, calling="SCANNER") == (2, 3, 2)
        assert stack.enter_context(associated(listener.port, contexts, calling="OTHER")).is_established
    refusal = newest_refusal()
    assert (refusal.reason, "More than 2 associations at once, the limit of SCANNER" in refusal.message) == (
        "limit",
        True,
    )
    ended = Association.select().where(Association.ended.is_null(False))
    until(lambda: ended.count() == 3, "the associations have ended", 60)
    with associated(listener.port, contexts) as again:
        assert again.is_established


def test_ps3_8_9_3_4_the_site_has_so_many_associations_at_once_as_its_limit_says(listener: Listener) -> None:
    register()
    site_settings.change({"association.at_once": 1}, actor=operator())
    threading.Event().wait(site_settings.CACHE_SECONDS + 0.2)
    contexts = [build_context(VERIFICATION)]
    with associated(listener.port, contexts) as first:
        assert first.is_established
        assert rejection(listener.port, calling="SCANNER") == (2, 3, 2)
    assert "the limit of the site" in newest_refusal().message


def find(port: int, identifier: Dataset) -> tuple[Dataset, list[Dataset]]:
    with associated(port, [build_context(STUDY_FIND)]) as assoc:
        answers = list(assoc.send_c_find(identifier, STUDY_FIND))
    return answers[-1][0], [ds for _, ds in answers[:-1]]


def keys(level: str = "STUDY", **values: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in {"PatientID": "", **values}.items():
        setattr(ds, keyword, value)
    return ds


def test_ps3_4_c_4_1_2_2_lenient_queries_are_relational_and_a_refusal_says_so(listener: Listener) -> None:
    register()
    register("HIDDEN", projects=(("neuro/TRIAL2", "rw"),), store_to="neuro/TRIAL2", addresses=("127.0.0.1",))
    store(listener.port, [Encoded.of(image(PatientID="P1", Modality="CT")), Encoded.of(image(PatientID="P2"))])
    store(listener.port, [Encoded.of(image(PatientID="P9", Modality="CT"))], calling="HIDDEN")
    status, _ = find(listener.port, keys("SERIES", Modality="CT"))
    assert status.Status == 0xA900
    until(lambda: "Lenient queries of this peer would allow it" in listener.log.read_text(), "the log says so")
    peers.edit("SCANNER", lenient_queries=True, actor=operator())
    for level in ("SERIES", "STUDY"):
        status, found = find(listener.port, keys(level, Modality="CT"))
        assert (status.Status, [ds.PatientID for ds in found]) == (0, ["P1"])
    status, _ = find(listener.port, keys("NOWHERE"))
    assert status.Status == 0xA900


def test_ps3_4_c_4_1_1_4_a_query_above_the_limit_of_the_site_ends_with_a700_and_a_comment(listener: Listener) -> None:
    register()
    store(listener.port, [Encoded.of(image(PatientID=f"P{number}")) for number in range(4)])
    site_settings.change({"query.answers": 3}, actor=operator())

    def ended() -> tuple[Dataset, list[Dataset]] | None:
        status, found = find(listener.port, keys())
        return (status, found) if status.Status else None

    status, found = until(ended, "the listener knows the limit")
    assert (status.Status, len(found)) == (0xA700, 3)
    assert "More than 3 answers" in status.ErrorComment


def test_ps3_4_c_2_2_2_undeclared_bytes_are_read_in_the_set_of_the_peer_else_of_the_site(listener: Listener) -> None:
    register()
    store(listener.port, [Encoded.of(image(SpecificCharacterSet="ISO_IR 144", PatientName="Люкс^Иван"))])
    encoded = "Люкс^Иван".encode("iso8859_5")
    query = keys()
    query[0x00100010] = RawDataElement(0x00100010, "PN", len(encoded), encoded, 0, False, True)
    assert find(listener.port, query)[1] == []
    peers.edit("SCANNER", assumed_character_set="ISO_IR 144", actor=operator())
    assert len(find(listener.port, query)[1]) == 1
    peers.edit("SCANNER", assumed_character_set="", actor=operator())
    assert find(listener.port, query)[1] == []
    site_settings.change({"query.character_set": "ISO_IR 144"}, actor=operator())
    until(lambda: find(listener.port, query)[1], "the listener knows the set of the site")


def test_ps3_4_c_4_1_1_3_the_answer_is_in_the_set_of_the_peer_and_never_loses_a_letter(listener: Listener) -> None:
    register(answer_character_set="ISO_IR 144")
    names = ("Люкс^Иван", "Müller^Änne")
    store(listener.port, [Encoded.of(image(SpecificCharacterSet="ISO_IR 192", PatientName=name)) for name in names])
    _, found = find(listener.port, keys(PatientName="", SpecificCharacterSet="ISO_IR 192"))
    assert {(ds.SpecificCharacterSet, str(ds.PatientName)) for ds in found} == {
        ("ISO_IR 144", names[0]),
        ("ISO_IR 192", names[1]),
    }
