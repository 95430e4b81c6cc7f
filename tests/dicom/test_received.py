"""What comes by C-STORE is whole, in its transfer syntax and without file meta, or is refused."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from dimse_worker.status import MAX_COMMENT_LENGTH
from portal.dicom import header
from portal.errors import NotDicom
from tests.fixtures.archive import an_object, encode, vendor_file
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.small_objects import (
    OBJECTS,
    SEQUENCE_END,
    an_element,
    an_encoded_object,
    compressed_pixels,
    ends_of_elements,
)

EXPLICIT, IMPLICIT, DEFLATED = ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian


def refusal(data: bytes, syntax: str) -> str:
    """Why a data set is refused by C-STORE, however it is read; empty where it is accepted."""
    refusals = []
    for read in (
        lambda: header.read(io.BytesIO(data), size=len(data), transfer_syntax_uid=syntax, is_strict=True),
        lambda: header.read_bounded(io.BytesIO(data), size=len(data), transfer_syntax_uid=syntax, is_strict=True),
    ):
        try:
            read()
            refusals.append("")
        except NotDicom as error:
            refusals.append(error.message)
    assert len(set(refusals)) == 1
    return refusals[0]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_that_is_cut_anywhere_within_an_element_is_refused(name: str) -> None:
    data, syntax = OBJECTS[name]
    accepted = {size for size in range(len(data) + 1) if not refusal(data[:size], syntax)}
    assert accepted == ends_of_elements(data)


def test_a_whole_deflated_object_is_accepted_and_a_cut_one_is_not() -> None:
    plain = an_encoded_object()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = deflater.compress(plain) + deflater.flush()
    assert {size for size in range(len(packed) + 1) if not refusal(packed[:size], DEFLATED)} == {len(packed)}
    cut = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert "cut off" in refusal(cut.compress(plain[:-3]) + cut.flush(), DEFLATED)
    assert refusal(packed + b"\0", DEFLATED) == ""
    gzips = struct.pack("<LL", zlib.crc32(plain), len(plain))
    assert refusal(packed + gzips, DEFLATED) == ""
    for garbage in (b"\1", b"\0\0\0", gzips[::-1], bytes(8), packed):
        assert "Other bytes follow" in refusal(packed + garbage, DEFLATED)
    assert "damaged" in refusal(b"\xff" * 100, DEFLATED)


def test_a_deflated_object_larger_than_what_is_read_of_it_is_accepted_and_a_cut_one_is_not() -> None:
    plain = an_encoded_object(pixels=hostile.element(0x7FE00010, "OW", bytes(20 << 20)))
    packed = zlib.compress(plain, wbits=-zlib.MAX_WBITS)
    assert refusal(packed, DEFLATED) == ""
    assert "cut off" in refusal(packed[:-1], DEFLATED)


ENDS: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", True),
    "one NUL that makes it odd": (b"\0", False),
    "a block of NULs": (bytes(512), True),
    "NULs that fill up": (bytes(6), True),
    "a line feed": (b"\n", False),
    "two spaces": (b"  ", False),
    "half a head": (b"\xfc\xff\xfc\xff", False),
    "trailing padding": (hostile.element(0xFFFCFFFC, "OB", bytes(30)), True),
    "a delimiter": (SEQUENCE_END, True),
    "a signature": (hostile.sequence(0xFFFAFFFA, hostile.item(hostile.text(0x04000005, "US", "12"))), True),
}


@pytest.mark.parametrize("name", ENDS)
def test_bytes_behind_the_pixels_are_elements_or_padding(name: str) -> None:
    end, is_accepted = ENDS[name]
    assert (refusal(an_encoded_object() + end, EXPLICIT) == "") == is_accepted


def test_an_odd_last_value_may_have_its_padding_behind_it() -> None:
    odd = an_encoded_object(pixels=hostile.element(0x7FE00010, "OB", bytes(7)))
    assert refusal(odd, EXPLICIT) == refusal(odd + b"\0", EXPLICIT) == ""
    assert "cut off" in refusal(odd + b"\1", EXPLICIT)


def test_pixels_without_their_last_delimiter_are_refused() -> None:
    data, syntax = OBJECTS["compressed"]
    assert "cut off" in refusal(data.removesuffix(SEQUENCE_END), syntax)
    for fragments in ([b"\xff\xd8"] * 6000, [bytes(90_000)] * 3):
        many = an_encoded_object(pixels=compressed_pixels(*fragments))
        assert (refusal(many, syntax), "cut off" in refusal(many[:-8], syntax)) == ("", True)
        assert "group 0002" in refusal(many + META, syntax)


@pytest.mark.parametrize("implicit", [False, True])
def test_an_object_with_more_elements_than_are_read_is_refused_where_it_is_cut(implicit: bool) -> None:
    item = hostile.item(an_element(0x00181320, "DS", b"1.50", implicit=implicit) * 20, defined=implicit)
    groups = an_element(0x52009230, "SQ", item * 1000 + SEQUENCE_END, implicit=implicit, is_open=True)
    pixels = an_element(0x7FE00010, "OW", bytes(20), implicit=implicit)
    data, syntax = an_encoded_object(implicit=implicit, pixels=groups + pixels), IMPLICIT if implicit else EXPLICIT
    assert refusal(data, syntax) == ""
    for missing in (1, len(pixels) + 9):
        assert "cut off" in refusal(data[:-missing], syntax)
    assert "group 0002" in refusal(data + an_element(0x00020010, "UI", b"1.2\0", implicit=implicit), syntax)


def test_an_element_longer_than_its_item_is_no_cut_data_set() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 12) + hostile.element(0x00081155, "UI", b"1.23", length=40)
    data = an_encoded_object(pixels=hostile.sequence(0x0040A730, item))
    assert refusal(data, EXPLICIT) == ""


META = hostile.element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
META_PLACES: dict[str, Callable[[bytes], bytes]] = {
    "in front": lambda data: META + data,
    "between": lambda data: data[:-20] + META + data[-20:],
    "behind the pixels": lambda data: data + META,
    "behind, with more behind it": lambda data: data + META + hostile.element(0xFFFCFFFC, "OB", bytes(30)),
}


@pytest.mark.parametrize("place", META_PLACES)
def test_group_0002_is_refused_wherever_it_is(place: str) -> None:
    data = an_encoded_object(pixels=hostile.element(0x7FE00010, "OW", bytes(8)))
    assert "group 0002" in refusal(META_PLACES[place](data), EXPLICIT)


def test_group_0002_is_refused_in_implicit_vr_and_big_endian() -> None:
    data = an_encoded_object(implicit=True)
    assert "group 0002" in refusal(data + an_element(0x00020010, "UI", b"1.2\0", implicit=True), IMPLICIT)
    assert "group 0002" in refusal(b"\x00\x02\x00\x10UI\x00\x041.2\0", ExplicitVRBigEndian)


def starting_as_both(*, implicit: bool) -> bytes:
    """An object whose first element is one in either encoding: the length in one is VR and length in the other."""
    length = int.from_bytes(b"UL\0\0", "little")
    first = struct.pack("<HHL", 0x0008, 0x0001, length) + bytes(length if implicit else 0)
    return first + an_encoded_object(implicit=implicit, pixels=hostile.element(0x7FE00010, "OW", bytes(40_000)))


@pytest.mark.parametrize(("said", "sent_implicit"), [(EXPLICIT, True), (IMPLICIT, False), (JPEGBaseline8Bit, True)])
def test_an_object_in_the_other_vr_encoding_is_refused_in_whichever_way_it_begins(
    said: str, sent_implicit: bool
) -> None:
    assert "as its context requires" in refusal(an_encoded_object(implicit=sent_implicit), said)
    pixels = encode(an_object(PixelData=bytes(800_000)), syntax=IMPLICIT if sent_implicit else EXPLICIT)
    assert "as its context requires" in refusal(pixels, said)
    assert refusal(starting_as_both(implicit=sent_implicit), said)


def test_an_object_that_goes_on_in_implicit_vr_is_refused() -> None:
    first = hostile.text(0x00080005, "CS", "ISO_IR 100")
    assert "as its context requires" in refusal(first + an_encoded_object(implicit=True), EXPLICIT)


@pytest.mark.parametrize("vr", [b"??", b"  ", b"ox", b"UK"])
def test_an_element_of_an_illegal_vr_is_stepped_over_by_its_length_of_two_bytes(vr: bytes) -> None:
    illegal = struct.pack("<HH2sH", 0x0009, 0x1010, vr, 6) + b"abcdef"
    data = an_encoded_object()
    at = data.index(b"\x20\x00\x0d\x00")
    assert refusal(data[:at] + illegal + data[at:], EXPLICIT) == ""
    assert "cut off" in refusal(data[:at] + illegal + data[at:-1], EXPLICIT)


def test_a_single_element_without_a_vr_is_no_reason_to_refuse_an_object() -> None:
    data = an_encoded_object()
    at = data.index(b"\x20\x00\x0d\x00")
    without = an_element(0x00091010, "LO", b"abcdef", implicit=True)
    assert refusal(data[:at] + without + data[at:], EXPLICIT) == ""


def test_the_reasons_fit_an_error_comment() -> None:
    data = an_encoded_object()
    refused = {
        refusal(data[:-1], EXPLICIT),
        refusal(data + META, EXPLICIT),
        refusal(data, IMPLICIT),
        refusal(an_encoded_object(implicit=True), EXPLICIT),
        refusal(b"\xff" * 100, DEFLATED),
    }
    assert len(refused) == 5
    assert all(0 < len(message) <= MAX_COMMENT_LENGTH for message in refused)


@pytest.mark.parametrize(
    "name", ["MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"]
)
def test_the_cut_files_of_pydicom_are_refused_by_c_store_and_read_from_a_file(name: str) -> None:
    content = vendor_file(name).read_bytes()
    parsed, begin = header.read_file(io.BytesIO(content), len(content))
    assert "cut off" in refusal(content[begin:], parsed.transfer_syntax)
