"""Objects that are made to do harm, by C-STORE: each is kept or refused, found or not, and the site goes on."""

import struct
from pathlib import Path

from portal import models
from tests.fixtures.dimse import SECONDARY_CAPTURE, Listener, register, rows
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import ECHO, FIND, STORE, RawPeer, echo_rq, find_rq, store_rq
from tests.fixtures.memory_growth import BOUND, MEGABYTE, growth

UID = "1.2.826.0.1.3680043.9.7.6"
PATIENTS = ["../../../evil", "/etc/evil", "..\\evil", "<script>evil()</script>", '"><img src=x onerror=evil()>']
PATIENTS += ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "%s%n", "'; DROP TABLE study; --", "evil\x1b[2J"]
TEXT, PIXELS = 0x00400555, 0x7FE00010
KEPT, REFUSED = 0x0000, 0xA900


def of_patient(patient: str) -> bytes:
    return hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE).replace(
        hostile.text(0x00100020, "LO", "ODD"), hostile.text(0x00100020, "LO", patient)
    )


def with_last(last: bytes) -> bytes:
    return hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE, last=last)


def with_first(first: bytes) -> bytes:
    return hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE, first=first)


def pixels(rows_: int, columns: int, bits: int, size: int) -> bytes:
    head = (hostile.element(tag, "US", struct.pack("<H", value)) for tag, value in
            ((0x00280010, rows_), (0x00280011, columns), (0x00280100, bits)))  # fmt: skip
    return b"".join(head) + hostile.element(PIXELS, "OW", bytes(size))


OBJECTS = {
    **{f"patient {patient!r}": (of_patient(patient), {KEPT}) for patient in PATIENTS},
    "nested 10,000 deep": (with_last(hostile.nested(10_000, defined=False)), {KEPT}),
    "nested 10,000 deep before the UIDs": (with_first(hostile.nested(10_000, defined=False)), {REFUSED}),
    "a length past the end": (with_last(hostile.element(TEXT, "UT", b"x", length=1 << 31)), {REFUSED}),
    "the longest length": (with_last(hostile.element(PIXELS, "OB", b"x", length=2**32 - 2)), {REFUSED}),
    "a sequence without an end": (
        with_last(hostile.element(0x0040A730, "SQ", hostile.item(b""), length=hostile.UNDEFINED_LENGTH)),
        {REFUSED},
    ),
    "pixels without an end": (
        with_last(hostile.element(PIXELS, "OB", hostile.item(b"ab"), length=hostile.UNDEFINED_LENGTH)),
        {REFUSED},
    ),
    "an odd length": (with_last(hostile.element(TEXT, "LT", b"odd")), {KEPT, REFUSED}),
    "a length of 0 everywhere": (with_last(hostile.tiny_elements(50_000)), {KEPT}),
    "65,535 rows without pixels": (with_last(pixels(65_535, 65_535, 16, 2)), {KEPT}),
    "no rows": (with_last(pixels(0, 0, 0, 4)), {KEPT}),
    "7 bits": (with_last(pixels(2, 2, 7, 1000)), {KEPT}),
    "a whole file": (hostile.as_file(of_patient("P"), uid=UID, sop_class=SECONDARY_CAPTURE), {REFUSED}),
    "a program for Windows": (b"MZ" + bytes(126) + b"DICM" + of_patient("P"), {REFUSED}),
    "a program for Linux": (b"\x7fELF" + bytes(124) + b"DICM" + of_patient("P"), {REFUSED}),
    "nothing": (b"", {REFUSED}),
    "zeros": (bytes(100_000), {REFUSED}),
    "noise": (bytes(range(256)) * 400, {REFUSED}),
}


def test_no_object_does_harm_by_c_store(listener: Listener) -> None:
    register()
    found = {}
    with growth(listener.process.pid) as grown, RawPeer.associated(listener.port) as peer:
        for number, (name, (data_set, _allowed)) in enumerate(OBJECTS.items()):
            uid = UID[:-1] + chr(ord("0") + number // 10) + str(number % 10)
            sent = data_set.replace(hostile.text(0x00080018, "UI", UID), hostile.text(0x00080018, "UI", uid))
            found[name] = peer.ask(STORE, store_rq(uid, number), sent).status
            assert peer.ask(ECHO, echo_rq()).status == 0
        peer.release()
    assert {name: status for name, status in found.items() if status not in OBJECTS[name][1]} == {}
    assert grown.most < BOUND + 64 * MEGABYTE
    kept = sum(status == KEPT for status in found.values())
    assert len(rows(models.Instance)) == kept
    assert list(Path(listener.settings.data.parent).rglob("*evil*")) == []
    assert is_found(listener)
    assert "Traceback" not in listener.log.read_text()


def is_found(listener: Listener) -> bool:
    """Whether a C-FIND with each patient in its answer ends well."""
    level = hostile.text(0x00080052, "CS", "STUDY") + hostile.text(0x00100020, "LO", "")
    with RawPeer.associated(listener.port) as peer:
        answer = peer.ask(FIND, find_rq(), level + hostile.text(0x0020000D, "UI", ""))
        while answer.status == 0xFF00:
            answer = peer.answer()
        peer.release()
    return answer.status == 0
