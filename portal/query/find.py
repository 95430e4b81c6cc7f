"""Queries by DICOM attributes (PS3.4 C.4.1), for C-FIND and all others that search for studies in this way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

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


@dataclass(frozen=True, slots=True)
class EncodedMatch:
    """One entity that matches: its data set, encoded in the transfer syntax of the request."""

    identifier: bytes
    unmatched_keys: bool
    """Some keys were not used for matching: Pending is FF01 instead of FF00 (PS3.4 C.4.1.1.4)."""


@dataclass(frozen=True)
class _Query:
    """A request, with its conditions on the index and the sources of the values of its matches."""

    identifier: Identifier
    selection: Selection
    indexed: tuple[Attribute, ...]
    """Keys whose values the index has."""
    others: tuple[Key, ...]
    """Keys whose values only the stored header has."""
    fixed: dict[int, Value]
    """Values that are the same in each match."""
    unmatched_keys: bool

    @classmethod
    def from_identifier(cls, identifier: Identifier, scope: Scope, retrieve_ae_title: str) -> Self:
        """Raises BadIdentifier where a unique key of a level above is not a single value."""
        level, criteria = identifier.level, {found.attribute.tag: found for found in identifier.above()}
        above = frozenset(criteria)
        fixed: dict[int, Value] = {}
        unmatched_keys = False
        for key in identifier.keys:
            listed = key.listed
            if listed and listed.matched and listed.level <= level:
                found = None if key.tag in above else matching.criterion(listed, key.values)
                criteria |= {key.tag: found} if found else {}
            elif not (raw_values.is_private_creator(key.tag) or (listed and listed.level <= level and key.is_empty)):
                # It counts as universal whatever its value is. A count that is only requested is no such key.
                unmatched_keys = True
            if listed and listed.level > level:
                fixed[key.tag] = Value(key.vr)  # a key of a level below is returned empty

        if retrieve_ae_title:
            fixed[RETRIEVE_AE_TITLE] = Value("AE", text=retrieve_ae_title)
        fixed[QUERY_RETRIEVE_LEVEL] = Value("CS", text=level.name)
        fixed[INSTANCE_AVAILABILITY] = Value("CS", text="ONLINE")
        conditions = tuple((each.attribute.table, each.attribute.column, each.condition) for each in criteria.values())
        return cls(
            identifier=identifier,
            selection=Selection(scope.projects, conditions),
            indexed=tuple(key.listed for key in identifier.keys if key.listed and key.listed.level <= level),
            others=tuple(key for key in identifier.keys if key.listed is None),
            fixed=fixed,
            unmatched_keys=unmatched_keys,
        )

    def pages(self) -> Iterator[list[Row]]:
        """The matching rows of the index, read page by page."""
        columns = [(attribute.table, attribute.column) for attribute in self.indexed]
        match self.identifier.level:
            case Level.PATIENT:
                for patients in (find_queries.unidentified, find_queries.patients):
                    for page in _walk(partial(patients, self.selection)):
                        yield find_queries.studies_by_id(self.selection, columns, [row.id for row in page])
            case Level.STUDY:
                yield from _walk(partial(find_queries.studies, self.selection, columns))
            case Level.SERIES:
                yield from _walk(partial(find_queries.series, self.selection, columns))
            case Level.IMAGE:
                yield from _walk(partial(find_queries.instances, self.selection, columns))


def find(
    encoded: bytes, transfer_syntax_uid: str, scope: Scope, *, root: Root, retrieve_ae_title: str = ""
) -> Iterator[EncodedMatch]:
    """The entities of the request's level that match it, read from the index while the caller iterates.

    Raises BadIdentifier at once, before the first match (A900). Holds no cursor and no transaction between two matches;
    memory does not grow with their number. Needs a connection (`runtime.connection`) in the thread that iterates.
    """
    identifier = identifiers.read(identifiers.decode(encoded, transfer_syntax_uid), root=root)
    query = _Query.from_identifier(identifier, scope, retrieve_ae_title)
    if not scope.projects:
        return iter(())
    return (match for rows in query.pages() for match in _matches(query, rows, transfer_syntax_uid))


def _walk(statement: Callable[[tuple[Any, ...] | None], list[Row]]) -> Iterator[list[Row]]:
    """All pages of a statement, each from where the one before ended."""
    after: tuple[Any, ...] | None = None
    while page := statement(after):
        yield page
        if len(page) < ROWS_PER_PAGE:
            return
        after = page[-1].key


def _matches(query: _Query, rows: list[Row], transfer_syntax_uid: str) -> Iterator[EncodedMatch]:
    """The matches of one page. Headers are read once for the page, and only if a match needs them."""
    answers: dict[int, dict[int, Value]] = {}
    for row in rows:
        answer = dict(query.fixed)
        for attribute, value in zip(query.indexed, row.values, strict=True):
            if attribute.vr == "US":
                answer[attribute.tag] = Value("US", other=value)
            else:
                answer[attribute.tag] = Value(attribute.vr, text="" if value is None else str(value).strip("\\"))
        answers[row.id] = answer

    headers = _Headers(query, list(answers))
    for row_id, answer in answers.items():
        if query.others:
            request = query.identifier.dataset
            answer |= stored_headers.values_for(headers.for_row(row_id), request, [key.tag for key in query.others])
        terms = query.identifier.terms
        stored = () if responses.can_encode(answer, terms) else raw_values.character_set_terms(headers.for_row(row_id))
        dataset = responses.to_dataset(answer, request=terms, stored=stored)
        yield EncodedMatch(responses.encode(dataset, transfer_syntax_uid), query.unmatched_keys)


class _Headers:
    """The stored headers of one page of matches, read when the first of them is needed."""

    def __init__(self, query: _Query, row_ids: list[int]) -> None:
        self._query = query
        self._row_ids = row_ids
        self._headers: dict[int, bytes] | None = None
        self._instances: dict[int, retrieve_queries.StoredInstance] = {}

    def for_row(self, row_id: int) -> Dataset:
        if self._headers is None:
            level = self._query.identifier.level
            self._headers = find_queries.headers(_TABLES[level], self._row_ids)
            if level is Level.IMAGE and self._query.others:
                self._instances = retrieve_queries.stored_instances(self._row_ids)
        if row_id in self._instances:
            return stored_headers.read_instance(self._instances[row_id])
        return stored_headers.parse(self._headers.get(row_id, b""))
