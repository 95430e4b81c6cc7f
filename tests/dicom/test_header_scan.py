"""The scan of a header finds what the reader of elements finds, and what pydicom finds."""

import contextlib
import io
import struct
import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from portal.dicom import file_meta, header, header_scan, raw_values
from portal.dicom.element_heads import VRS
from portal.dicom.header import Header
from portal.errors import PortalError
from tests.dicom.test_element_reader import parsed_by_pydicom
from tests.fixtures.archive import an_object, encode
from tests.fixtures.hostile import mutations
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.small_objects import an_element

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def header_or_refusal(data: bytes, syntax: str, *, is_strict: bool, bounded: bool) -> Header | str:
    try:
        if bounded:
            size = len(data)
            return header.read_bounded(io.BytesIO(data), size=size, transfer_syntax_uid=syntax, is_strict=is_strict)
        return header.read(io.BytesIO(data), size=len(data), transfer_syntax_uid=syntax, is_strict=is_strict)
    except PortalError as error:
        return error.message


def assert_both_find_the_same(data: bytes, syntax: str, name: object = "") -> None:
    for is_strict in (False, True):
        scanned = header_or_refusal(data, syntax, is_strict=is_strict, bounded=False)
        assert scanned == header_or_refusal(data, syntax, is_strict=is_strict, bounded=True), name


def is_scanned(data: bytes) -> bool:
    try:
        header_scan.scan(data, len(data), {})
    except header_scan.Unusual:
        return False
    return True


def vendor_data_sets() -> list[tuple[str, bytes, str]]:
    """Name, data set and transfer syntax of each file of the pydicom wheel."""
    found = []
    for path in hostile.vendor_files():
        content = path.read_bytes()
        meta = file_meta.read(io.BytesIO(content))
        found.append((path.name, content[meta.dataset_offset :], file_meta.transfer_syntax_of(meta)))
    return found


def test_the_scan_finds_what_the_bounded_reader_finds_in_all_files_as_they_are() -> None:
    data_sets = vendor_data_sets()
    for name, data, syntax in data_sets:
        assert_both_find_the_same(data, syntax, name)
    assert sum(is_scanned(data) for _, data, _ in data_sets) > len(data_sets) * 3 / 4


ENCODINGS = ("+te +e", "+te -e", "+ti +e", "+ti -e", "+te +g", "+tb -e")
"""Options of dcmconv: the transfer syntax, with lengths or delimiters, with group lengths."""


def convert_and_compare(paths: Sequence[Path], options: str, target: Path) -> None:
    converted = scanned = 0
    for path in paths:
        if subprocess.run(["dcmconv", *options.split(), path, target], capture_output=True).returncode:
            continue  # compressed, or what DCMTK cannot read
        content = target.read_bytes()
        meta = file_meta.read(io.BytesIO(content))
        data, syntax = content[meta.dataset_offset :], file_meta.transfer_syntax_of(meta)
        assert_both_find_the_same(data, syntax, path.name)
        converted, scanned = converted + 1, scanned + is_scanned(data)
    assert converted > len(paths) / 2
    assert scanned > converted * 0.8 or "+tb" in options


@pytest.mark.parametrize("number", range(len(ENCODINGS)))
def test_the_scan_finds_what_the_bounded_reader_finds_in_the_encodings_of_dcmtk(tmp_path: Path, number: int) -> None:
    convert_and_compare(hostile.vendor_files()[number::6], ENCODINGS[number], tmp_path / "converted.dcm")


@pytest.mark.prove
@pytest.mark.parametrize("options", ENCODINGS)
def test_the_scan_finds_what_the_bounded_reader_finds_in_each_file_and_encoding(tmp_path: Path, options: str) -> None:
    convert_and_compare(hostile.vendor_files(), options, tmp_path / "converted.dcm")


def test_the_scan_finds_what_the_bounded_reader_finds_in_changed_files() -> None:
    originals = mutations.originals()
    for number in range(300):
        changed = mutations.mutate(originals[number % len(originals)], number, 11)
        assert_both_find_the_same(changed.data_set, changed.original.header.transfer_syntax, number)


def assert_pydicom_finds_the_same(data: bytes, syntax: str, name: object = "") -> None:
    ds = parsed_by_pydicom(data, syntax)
    values = header_scan.scan(data, len(data), header_scan.by_group(header.INDEXED_TAGS)).values
    for tag in header.INDEXED_TAGS:
        element = ds.get_item(tag, keep_deferred=True)
        if element is None or isinstance(element, RawDataElement):  # pydicom keeps no bytes of a sequence
            found = b"" if element is None else element.value or b""
            assert values.get(tag, b"") == (found if len(found) <= header.MAX_VALUE_SIZE else b""), (name, hex(tag))


def test_the_scan_finds_what_pydicom_finds_in_its_files() -> None:
    for name, data, syntax in vendor_data_sets():
        if is_scanned(data):
            assert_pydicom_finds_the_same(data, syntax, name)


# Generated data sets

TAGS = st.integers(0x0008, 0x7FE0).flatmap(
    lambda group: st.integers(0, 0xFFFF).map(lambda number: group << 16 | number)
)
UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
KNOWN_TAGS = st.sampled_from(sorted({*header.INDEXED_TAGS, 0x00080000, 0x00081140, 0x00283002, 0x7FE00010, 0x52009230}))
VALUES = st.one_of(
    st.binary(max_size=24),
    st.text(max_size=12).map(str.encode),
    st.sampled_from((b"", b"1.2.3\0", bytes(9000), bytes(16368), bytes(16376), bytes(16400), b"\x1b$B8!^=", b"\1\0")),
)


@st.composite
def elements(draw: st.DrawFn, *, implicit: bool, depth: int = 0, exact: bool = True) -> bytes:
    """Elements, mostly as the standard wants them; with `exact` in the order of their tags. The four UIDs are there."""
    tags = draw(st.lists(st.one_of(KNOWN_TAGS, TAGS), max_size=12, unique=exact))
    tags += [tag for tag in UIDS if tag not in tags and not depth]
    encoded = []
    for tag in sorted(tags) if exact else tags:
        known = raw_values.resolve_vr(raw_values.known_vr(tag), signed=False)
        vr = (
            known
            if tag in UIDS
            else draw(st.sampled_from((known, known, known, *sorted(each.decode() for each in VRS))))
        )
        if vr != "SQ" or depth == 3:
            value = b"1.2.3" if tag in UIDS else draw(VALUES)
            padded = value + b"\0" * (len(value) % 2 if draw(st.integers(0, 9)) else 0)
            encoded.append(an_element(tag, vr, padded, implicit=implicit))
            continue
        is_open, content = draw(st.booleans()), b""
        for each in draw(st.lists(elements(implicit=implicit, depth=depth + 1, exact=exact), max_size=2)):
            content += hostile.item(each, defined=draw(st.booleans()))
        delimiter = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if is_open else b""
        encoded.append(an_element(tag, vr, content + delimiter, implicit=implicit, is_open=is_open))
    return b"".join(encoded)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.booleans(), st.booleans())
def test_the_scan_finds_what_the_bounded_reader_finds_in_generated_data_sets(
    data: st.DataObject, implicit: bool, exact: bool
) -> None:
    content = data.draw(elements(implicit=implicit, exact=exact))
    if not data.draw(st.integers(0, 3)):
        content = content[: data.draw(st.integers(0, len(content)))]
    assert_both_find_the_same(content, SYNTAXES[implicit])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.booleans())
def test_the_scan_finds_what_pydicom_finds_in_generated_data_sets(data: st.DataObject, implicit: bool) -> None:
    content = data.draw(elements(implicit=implicit))
    if is_scanned(content):
        with contextlib.suppress(*raw_values.PARSE_ERRORS):  # pydicom fails for character sets that are no text
            assert_pydicom_finds_the_same(content, SYNTAXES[implicit])


LARGE_HEADERS = {
    "more elements in a sequence than are read": hostile.tiny_elements(30_000),
    "sequences that are too large": b"".join(
        hostile.sequence(0x00400000 | number, hostile.item(hostile.element(0x00400555, "LO", b"") * 2300))
        for number in range(0x1001, 0x1040)
    ),
    "more than is kept": b"".join(
        hostile.text(0x00410000 | number, "LT", "x" * 7000) for number in range(0x1001, 0x1010)
    ),
    "many of the top level": b"".join(
        hostile.element(0x00410000 | n, "LO", b"") for n in range(0x1000, 0x1000 + 21_000)
    ),
    "larger than the first bytes": hostile.element(0x00410010, "OB", bytes(400_000)),
}


@pytest.mark.parametrize("name", LARGE_HEADERS)
def test_the_scan_finds_what_the_bounded_reader_finds_in_large_headers(name: str) -> None:
    last = LARGE_HEADERS[name] + hostile.text(0x00540081, "US", "12") + hostile.element(0x7FE00010, "OW", bytes(20))
    data = hostile.an_object(uid="1.2.3", last=last)
    assert_both_find_the_same(data, ExplicitVRLittleEndian)
    parsed = header.read(io.BytesIO(data), size=len(data), transfer_syntax_uid=ExplicitVRLittleEndian, is_strict=True)
    assert len(parsed.kept or b"") <= 64 << 10


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_texts_outside_ascii_are_scanned_in_their_character_sets(syntax: str) -> None:
    ds = an_object(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", StudyDescription="Schädel")
    data = encode(ds, syntax=syntax)
    parsed = header.read(io.BytesIO(data), size=len(data), transfer_syntax_uid=syntax)
    assert (parsed.patient_name, parsed.study_description) == ("Müller^Jörg", "Schädel")
    assert unicodedata.is_normalized("NFC", parsed.patient_name)
