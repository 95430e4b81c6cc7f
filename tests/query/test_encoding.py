"""What is read and written by hand is what pydicom reads and writes."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from portal.dicom import character_sets, element_heads, raw_values
from portal.dicom.element_heads import ITEM
from portal.dicom.query_attributes import ATTRIBUTES, Attribute
from portal.dicom.raw_values import TEXT_VRS
from portal.errors import BadIdentifier
from portal.query import header_values, identifier_scan, identifiers, responses, stored_headers
from portal.query.header_values import Header
from portal.query.responses import Value
from portal.query.templates import Template
from tests.fixtures.query import request

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
CHARACTER_SETS = [
    (),
    ("ISO_IR 100",),
    ("ISO_IR 144",),
    ("ISO_IR 192",),
    ("GB18030",),
    ("", "ISO 2022 IR 87"),
    ("ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159"),
    ("ISO 2022 IR 6", "ISO 2022 IR 149"),
]
LETTERS = "abcXYZ 0129^=\\*?-.:[]äéЖ山田やﾔ김"
TEXTS = st.text(LETTERS, max_size=12) | st.text(max_size=6)

few = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def value_of(attribute: Attribute) -> st.SearchStrategy[Any]:
    if attribute.vr == "US":
        return st.none() | st.integers(0, 0xFFFF)
    if attribute.vr in TEXT_VRS:
        return st.none() | TEXTS
    return st.none() | st.integers(0, 99_999) | st.text("ABC0129. \\-é", max_size=10)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Attribute], list[Any]]:
    chosen = draw(st.lists(st.sampled_from(list(ATTRIBUTES.values())), unique_by=lambda each: each.tag, max_size=12))
    attributes = sorted(chosen, key=lambda each: each.tag)
    return attributes, [draw(value_of(each)) for each in attributes]


@few
@given(answers(), st.sampled_from(SYNTAXES), st.sampled_from(CHARACTER_SETS), st.sampled_from(CHARACTER_SETS))
def test_an_answer_from_a_template_is_the_one_of_a_data_set(
    answer: tuple[list[Attribute], list[Any]], syntax: str, asked: tuple[str, ...], stored: tuple[str, ...]
) -> None:
    attributes, values = answer
    fixed = {0x00080052: Value("CS", text="STUDY"), 0x00080054: Value("AE", text="PORTICO"), 0x0020000D: Value("UI")}
    indexed = [each for each in attributes if each.tag not in fixed]
    values = [value for each, value in zip(attributes, values, strict=True) if each.tag not in fixed]
    whole = dict(fixed)
    for each, value in zip(indexed, values, strict=True):
        text = "" if value is None else str(value).strip("\\")
        whole[each.tag] = Value("US", other=value) if each.vr == "US" else Value(each.vr, text=text)
    expected = responses.encode(responses.to_dataset(whole, request=asked, stored=stored), syntax)

    template = Template(fixed, indexed, syntax)
    terms = character_sets.choose(template.texts(values), request=asked, stored=stored)
    assert template.encode_in(terms, values) == expected
    if all(str(value).isascii() for value in values):
        assert template.encode(values) == expected


HEADER_VRS = {
    0x00080080: "LO",
    0x00081040: "LO",
    0x00081070: "PN",
    0x00081032: "SQ",
    0x00101010: "AS",
    0x001021B0: "LT",
    0x00110010: "LO",
    0x00111001: "SH",
    0x00189305: "FD",
    0x0020000E: "UI",
    0x00280002: "US",
    0x00280030: "DS",
    0x00280103: "US",
    0x00280106: "US",
    0x00287FE0: "UR",
    0x00281201: "OW",
    0x00400280: "ST",
    0x00420011: "OB",
}


@st.composite
def headers(draw: st.DrawFn) -> tuple[dict[int, str], Header]:
    """A header, and keys that ask for some of its values and for others, each with the VR of its request."""
    terms, implicit = draw(st.sampled_from(CHARACTER_SETS)), draw(st.booleans())
    parts = {0x00080005: ("CS", "\\".join(terms).encode())} if terms else {}
    for tag in draw(st.lists(st.sampled_from(list(HEADER_VRS)), unique=True, max_size=8)):
        vr = draw(st.sampled_from([HEADER_VRS[tag]] * 4 + ["UN", "LO", "US"]))
        text = draw(TEXTS)
        raw = character_sets.encode(text, terms) if vr in raw_values.STRING_VRS else draw(st.binary(max_size=10))
        parts[tag] = vr, raw or b""
        if vr == "SQ":
            inner = element(0x00080100, "SH", text.encode(), implicit=implicit)
            parts[tag] = vr, element_heads.encode(ITEM, "", len(inner), implicit=True) + inner
    data = b"".join(element(tag, *parts[tag], implicit=implicit) for tag in sorted(parts))
    asked = draw(st.lists(st.sampled_from(list(HEADER_VRS)), unique=True, min_size=1, max_size=5))
    start = data[: draw(st.sampled_from([len(data)] * 9 + [20]))]
    return {tag: HEADER_VRS[tag] for tag in sorted(asked)}, Header(start, implicit, len(start) == len(data))


@few
@given(headers(), st.sampled_from(SYNTAXES), st.sampled_from(CHARACTER_SETS))
def test_values_of_a_header_read_by_hand_are_those_of_a_data_set(
    asked_header: tuple[dict[int, str], Header], syntax: str, asked: tuple[str, ...]
) -> None:
    keys, header = asked_header
    key_elements = Dataset()
    for tag, vr in keys.items():
        key_elements.add_new(tag, vr, None)
    parsed_header = stored_headers.parse(header.encoded, implicit=header.is_implicit)
    stored = raw_values.character_set_terms(parsed_header)
    whole = stored_headers.values_for(parsed_header, key_elements, list(keys))
    expected = responses.encode(responses.to_dataset(whole, request=asked, stored=stored), syntax)

    elements = header_values.only(header, keys)
    if elements is not None:
        some = stored_headers.parse(elements, implicit=header.is_implicit)
        assert stored_headers.values_for(some, key_elements, list(keys)) == whole
        assert raw_values.character_set_terms(some) == stored

    values = header_values.read(header, keys) if all(map(header_values.is_simple, keys, keys.values())) else None
    if values is None:
        return
    template = Template({}, [], syntax, list(keys))
    slots = [values[tag] for tag in template.tags]
    answer = template.encode_in(character_sets.choose(template.texts(slots), request=asked, stored=stored), slots)
    assert answer in (expected, None)
    assert answer is not None or syntax == ExplicitVRBigEndian
    if answer is not None and all(value.text.isascii() for value in slots):
        assert template.encode(slots) == expected


def test_what_a_template_cannot_encode_it_leaves_to_a_data_set() -> None:
    indexed = [ATTRIBUTES[0x00081030], ATTRIBUTES[0x00100010]]
    template = Template({}, indexed, ExplicitVRLittleEndian)
    assert template.encode(["x" * 5000, "Doe"]) is None
    assert template.encode(["Thorax", "Müller"]) is None
    assert template.encode_in(("ISO_IR 100",), ["x" * 5000, "Müller"]) is None


def element(tag: int, vr: str, value: bytes, *, implicit: bool) -> bytes:
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return element_heads.encode(tag, vr, len(value), implicit=implicit) + value


OTHER_KEYS = {
    0x00080080: "LO",
    0x00101010: "AS",
    0x00280100: "US",
    0x00400275: "SQ",
    0x00080000: "UL",
    0x00111001: "LO",
}


@st.composite
def encoded_identifiers(draw: st.DrawFn) -> tuple[bytes, str]:
    implicit = draw(st.booleans())
    terms = draw(st.sampled_from(CHARACTER_SETS))
    vrs = {tag: each.vr for tag, each in ATTRIBUTES.items()} | OTHER_KEYS
    parts = {0x00080005: "\\".join(terms).encode()} if terms else {}
    parts[0x00080052] = draw(st.sampled_from([b"STUDY", b"SERIES", b"IMAGE", b"PATIENT ", b"", b"series"]))
    for tag in draw(st.lists(st.sampled_from(list(vrs)), unique=True, max_size=8)):
        text = draw(TEXTS)
        raw = (
            character_sets.encode(text, terms, person_name=vrs[tag] == "PN")
            if vrs[tag] in raw_values.STRING_VRS
            else b""
        )
        parts[tag] = draw(st.just(raw or b"") | st.binary(max_size=6))
    tags = sorted(parts) if draw(st.integers(0, 9)) else sorted(parts, reverse=True)
    data = b"".join(element(tag, vrs.get(tag, "CS"), parts[tag], implicit=implicit) for tag in tags)
    if not draw(st.integers(0, 9)):
        data = data[: draw(st.integers(0, len(data)))]
    return data, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def test_the_usual_identifier_is_read_by_hand() -> None:
    ds = request("STUDY", PatientName="Doe^J*", StudyDate="20200101-", InstitutionName="", Modality="")
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        read = identifier_scan.elements(responses.encode(ds, syntax), syntax)
        assert read is not None
        assert [(tag, vr) for tag, vr, _ in read] == [(element.tag, element.VR) for element in ds]


def parsed(parse: Any) -> Any:
    try:
        identifier = parse()
    except BadIdentifier as error:
        return error.message
    return identifier.level, identifier.terms, identifier.keys


@few
@given(encoded_identifiers(), st.sampled_from(["patient", "study"]))
def test_an_identifier_read_by_hand_is_what_pydicom_reads(encoded: tuple[bytes, str], root: Any) -> None:
    data, syntax = encoded
    by_data_set = parsed(lambda: identifiers.read(identifiers.decode(data, syntax), root=root))
    assert parsed(lambda: identifiers.parse(data, syntax, root=root)) == by_data_set
