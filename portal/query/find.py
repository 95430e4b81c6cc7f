"""Queries by DICOM attributes (PS3.4 C.4.1), for C-FIND and all others that search for studies in this way."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from pydicom import Dataset

from portal.access.rights import Scope
from portal.dicom import character_sets, raw_values
from portal.dicom.query_attributes import (
    ATTRIBUTES,
    DATES_WITH_TIMES,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Attribute,
    Level,
)
from portal.errors import TooManyAnswers
from portal.models import find_queries, retrieve_queries, visibility
from portal.models.find_queries import Entity
from portal.models.visibility import Selection, TableName
from portal.query import header_values, identifiers, matching, responses, stored_headers
from portal.query.header_values import Header
from portal.query.identifiers import Identifier, Root
from portal.query.matching import Criterion
from portal.query.options import BASELINE, QueryOptions
from portal.query.responses import Value
from portal.query.templates import Template

_ENTITIES: dict[Level, Entity] = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
_TABLES: dict[Level, TableName] = {
    Level.PATIENT: "study",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
MAX_CACHED_LAYOUTS, MAX_CACHED_KEYS = 256, 64
"""Layouts that are kept, and keys of a request for whose layout that is worth it."""
HEADERS_AT_ONCE = 50
"""Stored headers in memory, each of at most 64 KiB."""


@dataclass(frozen=True, slots=True)
class EncodedMatch:
    """One entity that matches: its data set, encoded in the transfer syntax of the request."""

    identifier: bytes
    unmatched_keys: bool
    """Some keys were not used for matching: Pending is FF01 instead of FF00 (PS3.4 C.4.1.1.4)."""


@dataclass(frozen=True)
class _Layout:
    """Of what the answers to all requests with the same keys consist."""

    indexed: tuple[Attribute, ...]
    """Keys whose values the index has."""
    others: dict[int, str]
    """Keys whose values only the stored header has, with their VRs."""
    fixed: dict[int, Value]
    """Values that are the same in each match."""
    template: Template
    transfer_syntax_uid: str

    @cached_property
    def is_simple(self) -> bool:
        """Whether all values of a header can be read by hand."""
        return all(header_values.is_simple(tag, vr) for tag, vr in self.others.items())

    @cached_property
    def columns(self) -> find_queries.Columns:
        return tuple((attribute.table, attribute.column) for attribute in self.indexed)


def find(
    encoded: bytes,
    transfer_syntax_uid: str,
    scope: Scope,
    *,
    root: Root,
    retrieve_ae_title: str = "",
    options: QueryOptions = BASELINE,
) -> Iterator[EncodedMatch]:
    """The entities of the request's level that match it, read from the index while the caller iterates.

    Raises BadIdentifier at once, before the first match (A900), and TooManyAnswers after the last one that the options
    allow (A700). Holds no cursor and no transaction between two matches; memory does not grow with their number. Needs
    a connection (`runtime.connection`) in the thread that iterates.
    """
    identifier = identifiers.parse(encoded, transfer_syntax_uid, root=root, assumed=options.assumed)
    conditions, unmatched_keys = _conditions(identifier, options)
    if not scope.projects:
        return iter(())
    if options.answered_in:
        identifier = replace(identifier, terms=options.answered_in)
    keys = tuple((key.tag, key.vr) for key in identifier.keys)
    make = _cached_layout if len(keys) <= MAX_CACHED_KEYS else _layout
    layout = make(keys, identifier.level, transfer_syntax_uid, retrieve_ae_title)
    pages = find_queries.pages(_ENTITIES[identifier.level], Selection(scope.projects, conditions), layout.columns)
    found = (EncodedMatch(answer, unmatched_keys) for rows in pages for answer in _answers(layout, identifier, rows))
    return at_most(options.max_answers, found) if options.max_answers else found


def at_most(number: int, matches: Iterator[EncodedMatch]) -> Iterator[EncodedMatch]:
    """The first matches. Raises TooManyAnswers where there is one more."""
    for count, match in enumerate(matches):
        if count == number:
            raise TooManyAnswers(f"More than {number:,} answers. Narrow the query.")
        yield match


def _conditions(identifier: Identifier, options: QueryOptions) -> tuple[tuple[Any, ...], bool]:
    """The conditions on the index, and whether some keys are not used for matching.

    Raises BadIdentifier where a unique key of a level above is not a single value, unless the query is relational.
    """
    level = identifier.level
    criteria: dict[int, tuple[Criterion, ...]] = {}
    if not options.relational:
        criteria = {found.attribute.tag: (found,) for found in identifier.above()}
    below: list[Criterion] = []
    above = frozenset(criteria)
    unmatched_keys = False
    for tag, _, values, listed in identifier.keys:
        if listed and listed.matched and listed.level <= level:
            if tag not in above and (found := matching.criteria(listed, values, options)):
                criteria[tag] = found
        elif listed and listed.matched and options.relational:
            found = matching.criteria(listed, values, options)
            if found and listed.table == _TABLES[level]:  # a patient's row is one of its studies
                criteria[tag] = found
            below += found if listed.table != _TABLES[level] else ()
        elif not (raw_values.is_private_creator(tag) or (listed and listed.level <= level and not any(values))):
            # It counts as universal whatever its value is. A count that is only requested is no such key.
            unmatched_keys = True
    if options.date_time:
        for date, time in DATES_WITH_TIMES.items():
            if date in criteria and time in criteria:
                of_date, of_time = criteria[date][0], criteria[time][0]
                if both := matching.moments(of_date.condition, of_time.condition):
                    criteria[date] = (Criterion(of_date.attribute, both),)
                    del criteria[time]
    wanted = [
        (each.attribute.table, each.attribute.column, each.condition) for found in criteria.values() for each in found
    ]
    if below:
        lower = [(each.attribute.table, each.attribute.column, each.condition) for each in below]
        wanted.append((_TABLES[level], "id", visibility.below(lower)))
    return tuple(wanted), unmatched_keys


def _layout(
    keys: tuple[tuple[int, str], ...], level: Level, transfer_syntax_uid: str, retrieve_ae_title: str
) -> _Layout:
    """The layout for keys by tag and VR, in the order of the tags."""
    listed = [(tag, vr, ATTRIBUTES.get(tag)) for tag, vr in keys]
    # A key of a level below is returned empty.
    fixed = {tag: Value(vr) for tag, vr, attribute in listed if attribute and attribute.level > level}
    fixed[QUERY_RETRIEVE_LEVEL] = Value("CS", text=level.name)
    fixed[INSTANCE_AVAILABILITY] = Value("CS", text="ONLINE")
    if retrieve_ae_title:
        fixed[RETRIEVE_AE_TITLE] = Value("AE", text=retrieve_ae_title)
    indexed = tuple(attribute for _, _, attribute in listed if attribute and attribute.level <= level)
    others = {tag: vr for tag, vr, attribute in listed if attribute is None}
    return _Layout(
        indexed=indexed,
        others=others,
        fixed=fixed,
        template=Template(fixed, indexed, transfer_syntax_uid, tuple(others)),
        transfer_syntax_uid=transfer_syntax_uid,
    )


_cached_layout = lru_cache(maxsize=MAX_CACHED_LAYOUTS)(_layout)


def _answers(layout: _Layout, identifier: Identifier, rows: list[tuple[Any, ...]]) -> Iterator[bytes]:
    """The encoded answers of one page. Headers are read for many rows at once, and only if an answer needs them."""
    headers = _Headers(layout, identifier.level, [row[0] for row in rows])
    for number, *values in rows:
        slots = headers.slots(number, values) if layout.others else values
        answer = layout.template.encode(slots) if slots is not None else None
        yield answer or _unusual_answer(layout, identifier, headers, number, values, slots)


def _unusual_answer(
    layout: _Layout,
    identifier: Identifier,
    headers: "_Headers",
    number: int,
    values: list[Any],
    slots: list[Any] | None,
) -> bytes:
    """An answer with text outside ASCII, with values of sequences or private ones, or with a very long one."""
    terms, template = identifier.terms, layout.template
    if slots is not None:
        texts = template.texts(slots)
        stored = () if character_sets.fits(texts, terms) else headers.terms(number)
        chosen = character_sets.choose(texts, request=terms, stored=stored)
        if (answer := template.encode_in(chosen, slots)) is not None:
            return answer

    whole = dict(layout.fixed)
    for attribute, value in zip(layout.indexed, values, strict=True):
        if attribute.vr == "US":
            whole[attribute.tag] = Value("US", other=value)
        else:
            whole[attribute.tag] = Value(attribute.vr, text="" if value is None else str(value).strip("\\"))
    whole |= stored_headers.values_for(headers.of(number), identifier.dataset, list(layout.others))
    stored = () if responses.can_encode(whole, terms) else headers.terms(number)
    return responses.encode(responses.to_dataset(whole, request=terms, stored=stored), layout.transfer_syntax_uid)


class _Headers:
    """The stored headers of one page of matches, read when the first of them is needed."""

    def __init__(self, layout: _Layout, level: Level, numbers: list[int]) -> None:
        self._numbers, self._layout, self._level = numbers, layout, level
        self._headers: dict[int, bytes] = {}
        self._instances: dict[int, retrieve_queries.StoredInstance] = {}
        self._started: tuple[int, Header | None] = (0, None)

    def of(self, number: int) -> Dataset:
        """The elements that are asked for, of an instance's own header or of that of a row."""
        start = self._start(number)
        if start and (elements := header_values.only(start, self._layout.others)) is not None:
            return stored_headers.parse(elements, implicit=start.is_implicit)
        if instance := self._instance(number):
            return stored_headers.read_instance(instance)
        return stored_headers.parse(self._stored(number))

    def slots(self, number: int, values: list[Any]) -> list[Any] | None:
        """The columns of a row together with values of its header; None where these cannot be read by hand."""
        start = self._start(number) if self._layout.is_simple else None
        others = header_values.read(start, self._layout.others) if start else None
        if others is None:
            return None
        columns = iter(values)
        return [others[tag] if tag in others else next(columns) for tag in self._layout.template.tags]

    def terms(self, number: int) -> tuple[str, ...]:
        """The character sets that the header of a row declares."""
        if self._instance(number):
            return raw_values.character_set_terms(self.of(number))
        return stored_headers.character_set_terms(self._stored(number))

    def _start(self, number: int) -> Header | None:
        if number != self._started[0]:
            instance = self._instance(number)
            self._started = number, stored_headers.start_of(instance) if instance else Header(self._stored(number))
        return self._started[1]

    def _instance(self, number: int) -> retrieve_queries.StoredInstance | None:
        """Where an instance is, whose own header is to be read."""
        if self._level is not Level.IMAGE or not self._layout.others:
            return None
        if not self._instances:
            self._instances = retrieve_queries.stored_instances(self._numbers)
        return self._instances.get(number)

    def _stored(self, number: int) -> bytes:
        if number not in self._headers:
            begin = self._numbers.index(number)
            some = self._numbers[begin : begin + HEADERS_AT_ONCE]
            self._headers = dict.fromkeys(some, b"") | find_queries.headers(_TABLES[self._level], some)
        return self._headers[number]
