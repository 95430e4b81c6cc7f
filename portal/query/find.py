"""The one door for queries (PS3.4 C.4.1): C-FIND, and whoever else looks for studies by DICOM's keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydicom import Dataset

from portal.access.rights import Scope
from portal.dicom import raw_values
from portal.dicom.query_attributes import (
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Attribute,
    Level,
)
from portal.models import find_queries, retrieve_queries
from portal.models.visibility import ROWS_PER_PAGE, Row, Selection, TableName
from portal.query import identifiers, matching, responses, stored_headers
from portal.query.identifiers import Identifier, Key, Root
from portal.query.responses import Value

_TABLES: dict[Level, TableName] = {
    Level.PATIENT: "study",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}


@dataclass(frozen=True)
class Match:
    """One entity that matches, as a data set that is ready to be encoded.

    Text outside ASCII stands in it as bytes, names as `PersonName`: decode it with its own SpecificCharacterSet.
    """

    identifier: Dataset
    unmatched_keys: bool
    """Some keys were not matched by: Pending is FF01 instead of FF00 (PS3.4 C.4.1.1.4)."""


@dataclass(frozen=True)
class _Question:
    """A request with what it takes to answer it."""

    identifier: Identifier
    selection: Selection
    listed: tuple[Attribute, ...]
    """Keys that the index answers."""
    others: tuple[Key, ...]
    """Keys that the stored header answers."""
    fixed: dict[int, Value]
    unmatched_keys: bool

    @property
    def level(self) -> Level:
        return self.identifier.level

    @property
    def columns(self) -> list[tuple[TableName, str]]:
        return [(attribute.table, attribute.column) for attribute in self.listed]


def find(request: Dataset, scope: Scope, *, root: Root, retrieve_ae_title: str = "") -> Iterator[Match]:
    """The entities of the request's level that match it, one each, read from the index as they are taken.

    Raises BadIdentifier at once, before the first answer (A900). Holds no cursor and no transaction between two
    answers; memory does not grow with their number. Needs a connection (`runtime.connection`) in the thread that
    iterates.
    """
    identifier = identifiers.read(request, root=root)
    question = _question(identifier, scope, retrieve_ae_title)
    return _matches(question) if scope.projects else iter(())


def _question(identifier: Identifier, scope: Scope, retrieve_ae_title: str) -> _Question:
    above = {found.attribute.tag: found for found in identifier.above()}
    criteria = dict(above)
    for key in identifier.keys:
        if key.tag not in above and _is_matched(key, identifier.level) and key.listed:
            found = matching.criterion(key.listed, key.values)
            criteria |= {key.tag: found} if found else {}
    wanted = tuple((each.attribute.table, each.attribute.column, each.condition) for each in criteria.values())
    listed = [key.listed for key in identifier.keys if key.listed]
    return _Question(
        identifier=identifier,
        selection=Selection(scope.projects, wanted),
        listed=tuple(attribute for attribute in listed if attribute.level <= identifier.level),
        others=tuple(key for key in identifier.keys if key.listed is None),
        fixed=_fixed(identifier, retrieve_ae_title),
        unmatched_keys=any(_is_unmatched(key, identifier.level) for key in identifier.keys),
    )


def _is_matched(key: Key, level: Level) -> bool:
    return key.listed is not None and key.listed.matched and key.listed.level <= level


def _is_unmatched(key: Key, level: Level) -> bool:
    """Whether a key counts as universal whatever it says. A count that is only asked for does not."""
    if raw_values.is_private_creator(key.tag) or (key.listed and key.listed.level <= level and key.is_empty):
        return False
    return not _is_matched(key, level)


def _fixed(identifier: Identifier, retrieve_ae_title: str) -> dict[int, Value]:
    """What each answer says alike, and keys of a level below, which come back empty."""
    below = {key.tag: Value(key.vr) for key in identifier.keys if key.listed and key.listed.level > identifier.level}
    place = {RETRIEVE_AE_TITLE: Value("AE", text=retrieve_ae_title)} if retrieve_ae_title else {}
    return {
        **below,
        **place,
        QUERY_RETRIEVE_LEVEL: Value("CS", text=identifier.level.name),
        INSTANCE_AVAILABILITY: Value("CS", text="ONLINE"),
    }


def _matches(question: _Question) -> Iterator[Match]:
    for rows in _pages(question):
        yield from _answered(question, rows)


def _pages(question: _Question) -> Iterator[list[Row]]:
    selection, columns = question.selection, question.columns
    match question.level:
        case Level.PATIENT:
            for patients in (find_queries.unidentified, find_queries.patients):
                for page in _walk(partial(patients, selection)):
                    yield find_queries.studies_by_id(selection, columns, [row.id for row in page])
        case Level.STUDY:
            yield from _walk(partial(find_queries.studies, selection, columns))
        case Level.SERIES:
            yield from _walk(partial(find_queries.series, selection, columns))
        case Level.IMAGE:
            yield from _walk(partial(find_queries.instances, selection, columns))


def _walk(statement: Callable[[tuple[Any, ...] | None], list[Row]]) -> Iterator[list[Row]]:
    """All pages of a statement, each from where the one before ended."""
    after: tuple[Any, ...] | None = None
    while page := statement(after):
        yield page
        if len(page) < ROWS_PER_PAGE:
            return
        after = page[-1].key


def _answered(question: _Question, rows: list[Row]) -> Iterator[Match]:
    """The answers of one page. Headers are read once for the page, and only where the answers need them."""
    found = {row.id: _from_index(question, row) for row in rows}
    headers = _Headers(question, found)
    for number, answer in found.items():
        if question.others:
            request = question.identifier.dataset
            answer |= stored_headers.values_for(headers.of(number), request, [key.tag for key in question.others])
        terms = question.identifier.terms
        stored = () if responses.can_encode(answer, terms) else raw_values.character_set_terms(headers.of(number))
        yield Match(responses.to_dataset(answer, request=terms, stored=stored), question.unmatched_keys)


def _from_index(question: _Question, row: Row) -> dict[int, Value]:
    answer = dict(question.fixed)
    for attribute, value in zip(question.listed, row.values, strict=True):
        answer[attribute.tag] = _value(attribute, value)
    return answer


def _value(attribute: Attribute, value: Any) -> Value:
    if attribute.vr == "US":
        return Value("US", other=value)
    return Value(attribute.vr, text="" if value is None else str(value).strip("\\"))


class _Headers:
    """The stored headers of one page of answers, read when the first of them is needed."""

    def __init__(self, question: _Question, found: dict[int, dict[int, Value]]) -> None:
        self._question = question
        self._ids = list(found)
        self._kept: dict[int, bytes] | None = None
        self._places: dict[int, retrieve_queries.StoredInstance] = {}

    def of(self, number: int) -> Dataset:
        if self._kept is None:
            self._kept = find_queries.headers(_TABLES[self._question.level], self._ids)
            if self._question.level is Level.IMAGE and self._question.others:
                self._places = retrieve_queries.stored_instances(self._ids)
        if number in self._places:
            return stored_headers.read_instance(self._places[number])
        return stored_headers.parse(self._kept.get(number, b""))
