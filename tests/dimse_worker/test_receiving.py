import pytest

from portal import models, runtime
from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import peers, routing_rules
from portal.settings import Settings
from tests.fixtures.archive import CT_IMAGE_STORAGE
from tests.fixtures.dimse import (
    SECONDARY_CAPTURE,
    Encoded,
    Listener,
    Sender,
    image,
    listening,
    newest_association,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.hostile.objects import element
from tests.fixtures.hostile.small_objects import OBJECTS, UID, an_encoded_object, ends_of_elements

EXPLICIT = "1.2.840.10008.1.2.1"


def stored_bytes(sop_instance: str) -> bytes:
    """The data set that the archive holds for an instance."""
    instance = models.Instance.get(models.Instance.sop_uid == sop_instance)
    blob = instance.file.blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        content.seek(blob.dataset_offset)
        return bytes(content.read())


def test_what_is_sent_is_kept_byte_for_byte_and_names_its_peer(listener: Listener) -> None:
    peer = register()
    one = Encoded.of(image())
    (sent,) = store(listener.port, [one])
    assert sent.status == 0
    assert stored_bytes(one.sop_instance) == one.raw
    (file,) = rows(models.File)
    assert (file.origin_type, file.origin_id, file.origin_via) == ("peer", str(peer.id), "SCANNER 127.0.0.1")
    until(lambda: newest_association().outcome == "released", "the row is closed")
    row = newest_association()
    assert row.counts == {"store": {"done": 1, "failed": 0, "stored": 1}}
    assert row.bytes >= len(one.raw)


def test_sending_the_same_instance_again_succeeds_and_adds_nothing(listener: Listener) -> None:
    register()
    one = Encoded.of(image())
    assert [sent.status for sent in store(listener.port, [one, one])] == [0, 0]
    assert store(listener.port, [one])[0].status == 0
    assert len(rows(models.File)) == len(rows(models.Instance)) == 1


def test_other_content_under_a_known_uid_is_refused_with_c111_where_the_site_says_so(listener: Listener) -> None:
    register()
    options.change({"archive.duplicates": "refuse"}, actor=operator())
    first = image()
    other = image(SOPInstanceUID=first.SOPInstanceUID, StudyInstanceUID=first.StudyInstanceUID)
    other.SeriesInstanceUID = first.SeriesInstanceUID
    other.InstanceNumber = 7
    sent = store(listener.port, [Encoded.of(first), Encoded.of(other)])
    assert [one.status for one in sent] == [0, 0xC111]
    assert sent[1].comment.startswith("Refused: ")


@pytest.mark.parametrize("name", ["explicit", "implicit with delimiters", "compressed"])
def test_an_object_that_is_cut_at_any_byte_is_refused_unless_its_elements_are_whole(
    listener: Listener, name: str
) -> None:
    register()
    whole, syntax = OBJECTS[name]
    sender, acknowledged = Sender(listener.port), set()
    with sender.open({(CT_IMAGE_STORAGE, syntax)}) as assoc:
        for size in range(2, len(whole) + 1):
            uids = {"sop_class": CT_IMAGE_STORAGE, "sop_instance": UID}
            sent = sender.send(assoc, whole[:size], **uids, syntax=syntax)
            assert (sent.status, sent.comment) in ((0, ""), (0xA900, sent.comment or "none"))
            acknowledged |= {size} if sent.status == 0 else set()
    assert acknowledged == ends_of_elements(whole)
    kept = {file.blob.size - file.blob.dataset_offset for file in rows(models.File)}
    assert kept == acknowledged


def test_a_nul_behind_a_last_value_of_odd_length_is_kept(listener: Listener) -> None:
    register()
    raw = an_encoded_object(pixels=element(0x7FE00010, "OB", bytes(7))) + b"\0"
    assert store(listener.port, [Encoded(CT_IMAGE_STORAGE, UID, EXPLICIT, raw)])[0].status == 0
    assert stored_bytes(UID) == raw


def test_a_text_file_is_refused(listener: Listener) -> None:
    register()
    text = Encoded(SECONDARY_CAPTURE, "1.2.3", EXPLICIT, b"Dear colleague,\nno image here.\n" * 20)
    (sent,) = store(listener.port, [text])
    assert sent.status in (0xA900, 0xC000)
    assert rows(models.File) == []


NO_UIDS = ["../evil", "/etc/passwd", "..\\x", "1.2.\0.3", "1..2", "", "1" * 65, "1.2." + "3" * 300]


@pytest.mark.parametrize("uid", NO_UIDS)
def test_a_uid_that_is_none_is_refused(listener: Listener, uid: str) -> None:
    register()
    (sent,) = store(listener.port, [Encoded(SECONDARY_CAPTURE, uid, EXPLICIT, Encoded.of(image()).raw)])
    assert sent.status == 0xA900
    assert rows(models.File) == []
    assert list(listener.settings.data.parent.rglob("*evil*")) == []


def test_a_uid_that_is_none_in_command_and_data_set_is_refused(listener: Listener) -> None:
    register()
    ds = image(SOPInstanceUID="1.2.3.4")
    raw = Encoded.of(ds).raw.replace(b"1.2.3.4", b"../evil")
    assert store(listener.port, [Encoded(SECONDARY_CAPTURE, "../evil", EXPLICIT, raw)])[0].status == 0xA900
    assert rows(models.File) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"])
def test_a_data_set_without_its_uids_is_refused_with_a900(listener: Listener, keyword: str) -> None:
    register()
    ds = image()
    uid = str(ds.SOPInstanceUID)
    del ds[keyword]
    one = Encoded(SECONDARY_CAPTURE, uid, EXPLICIT, Encoded.of(ds).raw)
    (sent,) = store(listener.port, [one])
    assert sent.status == 0xA900
    assert rows(models.File) == []


def test_a_command_that_names_another_instance_than_the_data_set_is_refused(listener: Listener) -> None:
    register()
    one = Encoded.of(image())
    (sent,) = store(listener.port, [Encoded(one.sop_class, "1.2.3", one.syntax, one.raw)])
    assert (sent.status, rows(models.File)) == (0xA900, [])


def test_a_called_project_without_the_right_to_store_answers_0124(listener: Listener) -> None:
    register(projects=(("neuro/TRIAL2", "ro"),), store_to=None)
    (sent,) = store(listener.port, [Encoded.of(image())], called="TRIAL2")
    assert (sent.status, rows(models.File)) == (0x0124, [])
    peers.edit("SCANNER", projects=(("neuro/TRIAL2", "rw"),), actor=operator())
    assert store(listener.port, [Encoded.of(image())], called="TRIAL2")[0].status == 0
    (study,) = rows(models.Study)
    assert study.project.label == "TRIAL2"


def test_a_peer_that_sees_nothing_stores_to_its_project_and_without_one_into_unsorted(listener: Listener) -> None:
    register(projects=())
    assert store(listener.port, [Encoded.of(image())])[0].status == 0
    register("LOST", projects=(), store_to=None)
    assert store(listener.port, [Encoded.of(image())], calling="LOST")[0].status == 0
    assert [study.project.label for study in rows(models.Study)] == ["TRIAL1", "Unsorted"]


def test_a_routing_rule_places_what_the_peer_sends_within_what_it_may_store_to(listener: Listener) -> None:
    register(projects=(("neuro/TRIAL2", "rw"),), store_to=None)
    routing_rules.add(project="neuro/TRIAL1", peer="SCANNER", actor=operator())
    routing_rules.add(project="neuro/TRIAL2", called="PORTICO", patient_id="P?", actor=operator())
    until(lambda: _sent_to(listener) == "TRIAL2", "the rules are read")


def _sent_to(listener: Listener) -> str:
    assert store(listener.port, [Encoded.of(image())])[0].status == 0
    return str(rows(models.Study)[-1].project.label)


def test_a_private_sop_class_is_stored(listener: Listener) -> None:
    register()
    one = Encoded.of(image(SOPClassUID="1.3.12.2.1107.5.9.1"))
    assert store(listener.port, [one])[0].status == 0
    assert stored_bytes(one.sop_instance) == one.raw


def test_a_full_disk_answers_a700(dimse_site: Settings) -> None:
    register()
    with listening(dimse_site, min_free=1 << 60) as listener:
        (sent,) = store(listener.port, [Encoded.of(image())])
    assert (sent.status, rows(models.File)) == (0xA700, [])


def test_several_processes_share_the_port(dimse_site: Settings) -> None:
    register()
    with listening(dimse_site, children=3) as listener:
        for _ in range(6):
            assert store(listener.port, [Encoded.of(image()), Encoded.of(image())]) != []
    assert len(rows(models.Instance)) == 12
