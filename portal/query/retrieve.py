"""The one door for retrieval (PS3.4 C.4.2, C.4.3): which instances a C-MOVE or C-GET means, and where they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag

from portal import runtime, segment_checks
from portal.access.rights import Scope
from portal.archive import Slice
from portal.dicom.query_attributes import ISSUER_OF_PATIENT_ID, UNIQUE_KEYS, Level
from portal.errors import BadIdentifier, Damaged
from portal.models import retrieve_queries
from portal.models.retrieve_queries import StoredInstance
from portal.models.visibility import ROWS_PER_PAGE, Selection
from portal.query import identifiers, matching
from portal.query.identifiers import Identifier, Root
from portal.query.matching import Criterion
from portal.query.transcoding import transcode

VALUE_SEPARATOR = chr(92)
"""The backslash that stands between values, and so between the modalities of a study."""
MAX_DESCRIPTION_LENGTH = 100

__all__ = ["Outgoing", "Plan", "for_files", "plan", "transcode"]


@dataclass(frozen=True)
class Outgoing:
    """One instance that is to be sent: its data set, without file meta, is `length` bytes of a segment."""

    file_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    segment: str
    offset: int
    length: int
    digest: str
    """SHA-256 of the data set, in hex."""

    @property
    def is_here(self) -> bool:
        """Whether it can be read without waiting for anybody."""
        return runtime.archive().is_here(self.segment)

    def open(self) -> Slice:
        """The data set. Raises Damaged where it is gone; while the bucket is away, reading raises Unreachable."""
        return runtime.archive().open(self.segment, self.offset, self.length)

    def check(self) -> None:
        """Raise Damaged unless the stored bytes are those that were acknowledged: a changed byte is never sent."""
        try:
            with self.open() as stored:
                intact = stored.digest() == self.digest
        except OSError as error:
            raise Damaged("The archive's file of this object cannot be read. Restore it from a backup.") from error
        if not intact:
            raise segment_checks.damage_error(self.segment, self.offset)


@dataclass(frozen=True)
class Plan:
    """What a retrieve request means at the moment when it was planned; iterating reads it page by page.

    What arrives later is not part of it. What is taken away in between is left out: a caller that owes `total`
    sub-operations counts the difference as failed. Needs a connection in the thread that iterates.
    """

    selection: Selection
    last: int
    """Number of the newest instance at that moment."""

    @cached_property
    def total(self) -> int:
        """How many instances: the sub-operations of the request."""
        return sum(count for _, _, count in self._counted)

    @property
    def classes(self) -> list[tuple[str, str]]:
        """Each pair of SOP Class UID and transfer syntax UID in which something is stored."""
        return [(sop_class, syntax) for sop_class, syntax, _ in self._counted]

    @cached_property
    def _counted(self) -> list[tuple[str, str, int]]:
        return retrieve_queries.count_by_class(self.selection, self.last) if self.selection.projects else []

    @cached_property
    def words(self) -> str:
        """The studies that something is sent of, as people call them: CT Thorax, P001 and 2 more studies."""
        number, first = retrieve_queries.studies(self.selection, self.last) if self.total else (0, None)
        if first is None:
            return "Nothing that is here"
        modalities, description, patient_id = first
        parts = (modalities.strip(VALUE_SEPARATOR).replace(VALUE_SEPARATOR, "/"), description[:MAX_DESCRIPTION_LENGTH])
        name = " ".join(parts).strip() or "A study"
        more = "" if number == 1 else f" and {number - 1} more {'study' if number == 2 else 'studies'}"
        return f"{name}, {patient_id or 'no Patient ID'}{more}"

    def __iter__(self) -> Iterator[Outgoing]:
        """Series by series, each in the order of its instance numbers; no cursor is open between two of them."""
        after, more = None, self.total > 0
        while more and (page := retrieve_queries.series(self.selection, self.last, after)):
            for series in page:
                yield from self._series(series.id)
            after, more = page[-1].key, len(page) == ROWS_PER_PAGE

    def _series(self, series_id: int) -> Iterator[Outgoing]:
        after, more = None, True
        while more and (page := retrieve_queries.instances(self.selection, series_id, self.last, after)):
            yield from (_outgoing(stored) for _, stored in page)
            after, more = page[-1][0], len(page) == ROWS_PER_PAGE


def plan(request: Dataset, scope: Scope, *, root: Root) -> Plan:
    """What the request means within the scope, by the unique keys alone; other keys are ignored (PS3.4 C.4.2.2.1).

    Raises BadIdentifier for an unknown level, and where a unique key is missing, empty or a pattern (A900).
    """
    identifier = identifiers.read(request, root=root)
    wanted = [*identifier.above(), _wanted(identifier), *_issuer(identifier)]
    conditions = tuple((each.attribute.table, each.attribute.column, each.condition) for each in wanted)
    return Plan(Selection(scope.projects, conditions), retrieve_queries.last_instance())


def for_files(file_ids: Sequence[int]) -> dict[int, Outgoing]:
    """Where the instances lie that are some files of their own, by these."""
    return {stored.file_id: _outgoing(stored) for stored in retrieve_queries.instances_of_files(file_ids)}


def _wanted(identifier: Identifier) -> Criterion:
    """The unique key of the level itself: a UID or a list of them; at PATIENT level one ID."""
    attribute = UNIQUE_KEYS[identifier.level]
    key = identifier.by_tag.get(attribute.tag)
    values = key.values if key else ()
    found = matching.criterion(attribute, values)
    several = len(values) > 1 and identifier.level is Level.PATIENT
    if found is None or several or any(matching.is_wild(value) for value in values):
        name = keyword_for_tag(attribute.tag)
        raise BadIdentifier(f"A retrieval at {identifier.level.name} level needs {name}, without wild cards.")
    return found


def _issuer(identifier: Identifier) -> list[Criterion]:
    """Whose number the Patient ID is, where the request says so."""
    key = identifier.by_tag.get(ISSUER_OF_PATIENT_ID.tag)
    found = matching.criterion(ISSUER_OF_PATIENT_ID, key.values) if key and identifier.root == "patient" else None
    return [found] if found else []


def _outgoing(stored: StoredInstance) -> Outgoing:
    return Outgoing(
        file_id=stored.file_id,
        sop_class_uid=stored.sop_class,
        sop_instance_uid=stored.sop_uid,
        transfer_syntax_uid=stored.transfer_syntax,
        segment=stored.segment,
        offset=stored.offset,
        length=stored.size,
        digest=stored.digest,
    )
