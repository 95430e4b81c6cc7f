"""The identifier of a query or retrieve request: its level, its keys, and the checks that the standard requires."""

import io
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, NamedTuple

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from portal.dicom import character_sets, datasets, raw_values
from portal.dicom.element_reader import ElementReader, inflate
from portal.dicom.header import top_level_elements
from portal.dicom.query_attributes import (
    ATTRIBUTES,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    TIMEZONE_OFFSET,
    UNIQUE_KEYS,
    Attribute,
    Level,
)
from portal.errors import BadIdentifier
from portal.query import identifier_scan, matching
from portal.query.matching import Criterion

Root = Literal["patient", "study"]

MAX_IDENTIFIER_SIZE = 1 << 20
"""Bytes of an identifier: enough for a list of 15,000 UIDs."""
MAX_IDENTIFIER_ELEMENTS = 5000

NON_KEY_TAGS = frozenset(
    {SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET}
)
"""Elements that an identifier may have, but that are not used for matching."""


class Key(NamedTuple):
    """One key of a request; `listed` is None for an attribute that the index does not have."""

    tag: int
    vr: str
    values: tuple[str, ...]
    listed: Attribute | None

    @property
    def is_empty(self) -> bool:
        return not any(self.values)


@dataclass(frozen=True)
class Identifier:
    """A parsed request. Texts are in NFC."""

    decode: Callable[[], Dataset]
    root: Root
    level: Level
    terms: tuple[str, ...]
    """The request's character sets."""
    keys: tuple[Key, ...]

    @cached_property
    def dataset(self) -> Dataset:
        """The whole request, for what is seldom asked for: items of sequences, and owners of private elements."""
        return self.decode()

    @cached_property
    def by_tag(self) -> dict[int, Key]:
        return {key.tag: key for key in self.keys}

    def above(self, *, relational: bool = False) -> Iterator[Criterion]:
        """One value of the unique key of each level above (PS3.4 C.4.1.2.2.1, C.4.2.2.1).

        `relational`: only of those that the request names. Raises BadIdentifier if one is missing, empty, a list or a
        pattern.
        """
        for level in levels(self.root):
            if level >= self.level:
                continue
            attribute = UNIQUE_KEYS[level]
            key = self.by_tag.get(attribute.tag)
            values = key.values if key else ()
            found = matching.criterion(attribute, values)
            if relational and not any(values):
                continue
            if found is None or len(values) != 1 or matching.is_wild(values[0]):
                name = keyword_for_tag(attribute.tag)
                raise BadIdentifier(f"A request at {self.level.name} level needs exactly one value of {name}.")
            yield found


def levels(root: Root) -> tuple[Level, ...]:
    """The levels of an information model; Study Root has no PATIENT level (PS3.4 C.6.2.1)."""
    return tuple(Level) if root == "patient" else (Level.STUDY, Level.SERIES, Level.IMAGE)


def decode(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """The data set of an encoded request. Raises BadIdentifier for one that is larger than any query needs."""
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        # One byte more than the limit shows that there are more.
        data = inflate(io.BytesIO(data), len(data), limit=MAX_IDENTIFIER_SIZE + 1).getvalue()
        transfer_syntax_uid = ExplicitVRLittleEndian
    if len(data) > MAX_IDENTIFIER_SIZE:
        raise BadIdentifier(f"The identifier has more than {MAX_IDENTIFIER_SIZE:,} bytes.")
    whole = ElementReader(
        io.BytesIO(data),
        size=len(data),
        transfer_syntax_uid=transfer_syntax_uid,
        deep=True,
        max_elements=MAX_IDENTIFIER_ELEMENTS,
    )
    for _ in whole:
        pass
    if whole.stopped:
        raise BadIdentifier(f"The identifier is not a data set of at most {MAX_IDENTIFIER_ELEMENTS:,} elements.")
    reader = ElementReader(io.BytesIO(data), size=len(data), transfer_syntax_uid=transfer_syntax_uid)
    return datasets.from_elements(reader, top_level_elements(reader), limit=MAX_IDENTIFIER_SIZE)


def parse(encoded: bytes, transfer_syntax_uid: str, *, root: Root, assumed: tuple[str, ...] = ()) -> Identifier:
    """Parse an encoded request; `assumed` are the character sets of one that declares none.

    Raises BadIdentifier for one that is larger than any query needs, for an unknown level and for values that cannot be
    read.
    """
    found = identifier_scan.elements(encoded, transfer_syntax_uid)
    if found is None:
        return read(decode(encoded, transfer_syntax_uid), root=root, assumed=assumed)
    values = {tag: value for tag, _, value in found}
    terms = character_sets.parse(character_sets.decode(values.get(SPECIFIC_CHARACTER_SET, b""), ())) or assumed
    keys = []
    for tag, own_vr, value in found:
        if not tag & 0xFFFF or tag in NON_KEY_TAGS:
            continue
        listed = ATTRIBUTES.get(tag)
        vr = listed.vr if listed else own_vr
        if not value:
            keys.append(Key(tag, vr, ("",), listed))
        elif vr in raw_values.STRING_VRS:
            text = character_sets.decode(value, terms if vr in raw_values.TEXT_VRS else (), person_name=vr == "PN")
            parts = raw_values.split(text, vr)
            if not text.isascii():
                parts = tuple(unicodedata.normalize("NFC", part) for part in parts)
            keys.append(Key(tag, vr, parts, listed))
        else:  # numbers are seldom searched for
            return read(decode(encoded, transfer_syntax_uid), root=root, assumed=assumed)
    name = "".join(raw_values.split(character_sets.decode(values.get(QUERY_RETRIEVE_LEVEL, b""), ()), "CS"))
    return Identifier(partial(decode, encoded, transfer_syntax_uid), root, _level(name, root), terms, tuple(keys))


def read(request: Dataset, *, root: Root, assumed: tuple[str, ...] = ()) -> Identifier:
    """Parse a request. Raises BadIdentifier for an unknown level and for values that cannot be read."""
    keys, name = [], ""
    try:
        terms = raw_values.character_set_terms(request) or assumed
        for tag in sorted(request.keys()):
            if tag.element == 0 or tag in NON_KEY_TAGS:
                continue
            listed = ATTRIBUTES.get(tag)
            vr = listed.vr if listed else raw_values.vr_of(request, tag)
            if vr == "SQ":
                values = tuple("item" for item in request[tag].value or () if len(item))
            else:
                texts = raw_values.texts(request, tag, vr, terms)
                values = tuple(unicodedata.normalize("NFC", text) for text in texts)
            keys.append(Key(int(tag), vr, values, listed))
        if QUERY_RETRIEVE_LEVEL in request:
            name = "".join(raw_values.texts(request, QUERY_RETRIEVE_LEVEL, "CS", ()))
    except raw_values.PARSE_ERRORS as error:
        raise BadIdentifier("The identifier has a value that cannot be read.") from error

    return Identifier(lambda: request, root, _level(name, root), terms, tuple(keys))


def _level(name: str, root: Root) -> Level:
    for level in levels(root):
        if level.name == name:
            return level
    known = ", ".join(level.name for level in levels(root))
    raise BadIdentifier(f"{name[:16] or 'Nothing'} is not a Query/Retrieve Level of this model, which has {known}.")
