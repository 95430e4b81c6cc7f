from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_charset_files

from portal.dicom import character_sets
from portal.dicom.character_sets import choose, decode, encode, parse

# What each set of PS3.3 C.12.1.1.2 can write, as it stands alone.
ALONE = [
    ("ISO_IR 100", "Buc^Jérôme", b"Buc^J\xe9r\xf4me"),
    ("ISO_IR 101", "Wałęsa", b"Wa\xb3\xeasa"),
    ("ISO_IR 109", "Ġorġ", b"\xd5or\xf5"),
    ("ISO_IR 110", "Bērziņš", b"B\xbarzi\xf1\xb9"),
    ("ISO_IR 144", "Люкceмбypг", b"\xbb\xee\xdace\xdc\xd1yp\xd3"),
    ("ISO_IR 127", "قباني^لنزار", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    ("ISO_IR 126", "Διονυσιος", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    ("ISO_IR 138", "שרון^דבורה", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    ("ISO_IR 148", "Çavuşoğlu", b"\xc7avu\xfeo\xf0lu"),
    ("ISO_IR 203", "Œuvre €", b"\xbcuvre \xa4"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    ("ISO_IR 166", "สมชาย", b"\xca\xc1\xaa\xd2\xc2"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東", "Wang^XiaoDong=王^小東".encode()),
    ("GB18030", "Wang=王^小东", b"Wang=\xcd\xf5^\xd0\xa1\xb6\xab"),
    ("GBK", "Wang=王^小东", b"Wang=\xcd\xf5^\xd0\xa1\xb6\xab"),
]
# The same with code extensions, after ASCII (value 1 empty); the examples of PS3.5 H, I and K among them.
EXTENDED = [
    ("ISO 2022 IR 100", "Jérôme", b"J\x1b-A\xe9r\xf4me"),
    ("ISO 2022 IR 101", "Wałęsa", b"Wa\x1b-B\xb3\xeasa"),
    ("ISO 2022 IR 109", "Ġorġ", b"\x1b-C\xd5or\xf5"),
    ("ISO 2022 IR 110", "ņ", b"\x1b-D\xf1"),
    ("ISO 2022 IR 144", "Ли", b"\x1b-L\xbb\xd8"),
    ("ISO 2022 IR 127", "قب^لن", b"\x1b-G\xe2\xc8^\x1b-G\xe4\xe6"),
    ("ISO 2022 IR 126", "Δι", b"\x1b-F\xc4\xe9"),
    ("ISO 2022 IR 138", "שר", b"\x1b-H\xf9\xf8"),
    ("ISO 2022 IR 148", "ğ", b"\x1b-M\xf0"),
    ("ISO 2022 IR 203", "Œ", b"\x1b-b\xbc"),
    ("ISO 2022 IR 13", "ﾔﾏ", b"\x1b)I\xd4\xcf"),
    ("ISO 2022 IR 166", "สม", b"\x1b-T\xca\xc1"),
    ("ISO 2022 IR 58", "Zhang^XiaoDong=张^小东", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
    (
        "ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    (
        "ISO 2022 IR 149",
        "Hong^Gildong=洪^吉洞=홍^길동",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    ),
    ("ISO 2022 IR 159", "丂", b"\x1b$(D0!\x1b(B"),
]


@pytest.mark.parametrize(("term", "text", "raw"), ALONE)
def test_each_set_reads_and_writes_its_letters(term: str, text: str, raw: bytes) -> None:
    assert decode(raw, parse(term), person_name=True) == text
    assert encode(text, parse(term), person_name=True) == raw


@pytest.mark.parametrize(("term", "text", "raw"), EXTENDED)
@pytest.mark.parametrize("first", ["", "ISO 2022 IR 6"])
def test_each_code_extension_reads_and_writes_its_letters(first: str, term: str, text: str, raw: bytes) -> None:
    assert decode(raw, parse([first, term]), person_name=True) == text
    assert encode(text, parse([first, term]), person_name=True) == raw


def test_japanese_half_width_letters_go_back_to_the_roman_half_of_their_own_set() -> None:
    terms = parse(["ISO 2022 IR 13", "ISO 2022 IR 87"])
    raw = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
    assert decode(raw, terms, person_name=True) == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"
    assert encode("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", terms, person_name=True) == raw


def test_the_vendor_files_of_every_set_read_as_pydicom_reads_them_and_come_back() -> None:
    files = [Path(path) for path in get_charset_files("chr*.dcm")]
    assert len(files) >= 15
    for file in files:
        ds = dcmread(file)
        if "PatientName" not in ds:
            continue
        raw = ds.get_item("PatientName").value
        terms = parse(ds.get("SpecificCharacterSet"))
        text = decode(raw, terms, person_name=True)
        assert text.rstrip("= ") == str(ds.PatientName).rstrip("= "), file.name
        back = encode(text, terms, person_name=True)
        assert back is not None
        assert decode(back, terms, person_name=True) == text, file.name


def test_an_absent_and_an_empty_set_are_ascii() -> None:
    for value in (None, "", [], [""], "ISO_IR 6"):
        assert decode(b"Doe^John", parse(value)) == "Doe^John"
        assert encode("Doe^John", parse(value)) == b"Doe^John"
        assert encode("Jérôme", parse(value)) is None


def test_undeclared_bytes_are_read_as_latin_1_and_none_is_lost() -> None:
    assert decode(b"J\xe9r\xf4me", ()) == "Jérôme"
    assert decode(bytes(range(0x80, 0x100)), ()).encode("latin-1") == bytes(range(0x80, 0x100))


def test_bytes_that_do_not_fit_their_declared_set_are_still_read() -> None:
    assert decode(b"J\xe9r\xf4me", parse("ISO_IR 192")) == "Jérôme"
    assert decode(b"\x1b$B;", parse(["", "ISO 2022 IR 87"])) == ";"
    assert decode(b"a\x1b%Gb", ()) == "a\x1b%Gb"


def test_an_escape_sequence_is_followed_where_the_set_is_not_declared() -> None:
    assert decode(b"\x1b$B;3ED\x1b(B", ()) == "山田"


def test_korean_that_is_designated_only_once_is_read_in_all_components() -> None:
    raw = b"Hong^Gildong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7"
    assert decode(raw, parse(["", "ISO 2022 IR 149"]), person_name=True) == "Hong^Gildong=洪^吉洞"


def test_a_backslash_within_a_japanese_letter_separates_no_values() -> None:
    raw = "ソ\\能".encode("iso2022_jp").replace(b"\x1b(J", b"\x1b(B")
    assert decode(raw, parse(["", "ISO 2022 IR 87"])).split("\\") == ["ソ", "能"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ISO-IR 100", "ISO_IR 100"),
        ("ISO IR 100", "ISO_IR 100"),
        ("iso_ir 192", "ISO_IR 192"),
        ("ISO_IR_192", "ISO_IR 192"),
        ("UTF-8", "ISO_IR 192"),
        ("ISO 2022 58", "ISO 2022 IR 58"),
        ("ISO2022 IR 87", "ISO 2022 IR 87"),
    ],
)
def test_usual_misspellings_are_understood(written: str, meant: str) -> None:
    assert parse(written) == (meant,)


def test_a_term_that_nobody_knows_counts_as_absent() -> None:
    assert parse("KLINGON") == ()


def test_a_set_that_stands_alone_drops_what_is_declared_beside_it() -> None:
    assert parse(["ISO_IR 192", "ISO 2022 IR 87"]) == ("ISO_IR 192",)
    assert parse(["", "ISO_IR 192", "ISO 2022 IR 87"]) == ("", "ISO 2022 IR 87")


def test_an_answer_is_in_ascii_else_the_requests_set_else_the_objects_else_utf_8() -> None:
    latin, cyrillic = parse("ISO_IR 100"), parse("ISO_IR 144")
    assert choose([("Doe", True)], request=latin, stored=cyrillic) == ()
    assert choose([("Jérôme", True), ("Doe", False)], request=latin, stored=cyrillic) == ("ISO_IR 100",)
    assert choose([("Ли", True)], request=latin, stored=cyrillic) == ("ISO_IR 144",)
    assert choose([("Ли", True), ("Jérôme", False)], request=latin, stored=cyrillic) == ("ISO_IR 192",)
    assert choose([("Ли", True)], request=(), stored=()) == ("ISO_IR 192",)


def test_a_letter_that_a_set_lacks_is_never_replaced() -> None:
    for term in [term for term, _, _ in ALONE if term not in character_sets.STANDALONE_CODECS]:
        assert encode("Doe 🩻", parse(term)) is None
    assert encode("山", parse(["ISO 2022 IR 100", "ISO 2022 IR 144"])) is None


def test_the_yen_sign_is_not_written_as_the_delimiter_that_shares_its_code() -> None:
    assert encode("¥", parse("ISO_IR 13")) is None


NUMBERS = sorted(character_sets.REPERTOIRES)
TERMS = st.one_of(
    st.just(()),
    st.sampled_from([(f"ISO_IR {number}",) for number in NUMBERS]),
    st.lists(st.sampled_from(["", *(f"ISO 2022 IR {number}" for number in NUMBERS)]), min_size=1, max_size=3).map(
        tuple
    ),
)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=20), TERMS, st.booleans())
@example("Müller^Jörg".encode("latin-1"), ("ISO_IR 100",), True)
@example(b"\x81\x40\xb1", ("ISO_IR 13",), False)
def test_a_text_in_one_set_reads_at_once_as_it_reads_byte_by_byte(
    raw: bytes, terms: tuple[str, ...], person_name: bool
) -> None:
    by_bytes = character_sets.decode_extended(raw, terms, person_name=person_name)
    assert decode(raw, terms, person_name=person_name) == by_bytes
