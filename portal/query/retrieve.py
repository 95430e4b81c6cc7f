"""Retrieval (PS3.4 C.4.2, C.4.3): which instances a C-MOVE or C-GET means, and where their bytes are stored."""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal import runtime, segment_checks
from portal.access.rights import Scope
from portal.archive import Reader, Slice
from portal.dicom.query_attributes import ISSUER_OF_PATIENT_ID, UNIQUE_KEYS, Level
from portal.errors import BadIdentifier, Damaged
from portal.models import retrieve_queries
from portal.models.object_places import ObjectPlace
from portal.models.retrieve_queries import OwnedInstance, StoredInstance
from portal.models.visibility import ROWS_PER_PAGE, Selection
from portal.query import identifiers, matching
from portal.query.identifiers import Root
from portal.query.transcoding import transcode
from portal.zip_members import object_content
from portal.zip_members.inflated import Inflated

VALUE_SEPARATOR = chr(92)
"""The backslash between the values of an element, and so between the modalities of a study."""
MAX_DESCRIPTION_LENGTH = 100
MAX_NAMED = 20_000
"""Instances of a plan whose UIDs are remembered, so that those that are deleted meanwhile can be named."""
PIECE_SIZE = 256 << 10
"""Bytes that are read at once from an object that is not read whole: what is hashed is still in the cache when sent."""
UNREADABLE = "The archive's file of this object cannot be read. Restore it from a backup."
FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
MAX_SHORT_LENGTH = 0xFFFE
"""Bytes of a value whose length has 16 bit."""

__all__ = ["Outgoing", "Plan", "encode_failed_list", "for_objects", "of_uids", "plan", "transcode"]


@dataclass(frozen=True)
class Outgoing:
    """One instance to send: its data set, without file meta, at a place of the archive."""

    file_id: int
    member: str
    """Its name in a zip; empty for an instance that is a file of its own."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    place: ObjectPlace
    digest: str
    """SHA-256 of the data set, in hex."""
    record: ObjectPlace | None = None
    """The record of the archive that ends with the data set, and has a check sum; None for a member of a zip."""
    study_id: int = 0
    """Number of its study, where it is part of a retrieval."""

    @property
    def length(self) -> int:
        """Bytes of the data set."""
        return self.place.size

    @property
    def is_here(self) -> bool:
        """Whether it can be read from this machine's disk, without waiting for the bucket."""
        return runtime.archive().is_here(self.place.segment)

    def open(self) -> Slice | Inflated:
        """The data set. Raises Damaged if it is missing; reading raises Unreachable if the bucket is not reachable."""
        return object_content.open_place(self.place)

    def check(self) -> None:
        """Raise Damaged unless the stored bytes are those that were acknowledged."""
        for _piece in self.pieces():
            pass

    def read(self, reader: Reader) -> bytes | memoryview:
        """All of the data set, read once and compared with the record's check sum, which takes a third of the time of a
        digest; if that says nothing, with its digest. Raises as `pieces` does."""
        if (record := self.record) is not None:
            content = reader.read_record(record.segment, record.offset, record.size, self.digest)
            if content is not None:
                return content[self.place.offset - record.offset :]
        if self.place.packed_size is not None:
            return b"".join(self.pieces())
        try:
            stored = reader.read(self.place.segment, self.place.offset, self.place.size)
        except OSError as error:
            raise Damaged(UNREADABLE) from error
        if hashlib.sha256(stored).hexdigest() != self.digest:
            raise segment_checks.damage_error(self.place.segment, self.place.offset)
        return stored

    def pieces(self) -> Iterator[bytes]:
        """The data set in pieces of an even length, read once and hashed on their way (docs/decisions/0106).

        Raises Damaged before the last piece unless all of them are the bytes that were acknowledged, and Unreachable
        while the bucket cannot be reached.
        """
        digest, left = hashlib.sha256(), self.length
        try:
            with self.open() as stored:
                while left and (piece := stored.read(min(PIECE_SIZE, left))):
                    digest.update(piece)
                    left -= len(piece)
                    if not left and digest.hexdigest() != self.digest:
                        break
                    yield piece
        except OSError as error:
            raise Damaged(UNREADABLE) from error
        if left or digest.hexdigest() != self.digest:
            raise segment_checks.damage_error(self.place.segment, self.place.offset)


@dataclass(frozen=True)
class Plan:
    """The instances that a retrieve request means when it is planned; iterating reads them page by page.

    Instances that arrive later are not included. Those that are deleted in the meantime are left out: a caller that
    owes `total` sub-operations counts the difference as failed. Needs a connection in the thread that iterates.
    """

    selection: Selection
    last: int
    """Id of the newest instance at that moment."""
    counted: Sequence[tuple[str, str, int]]
    """SOP Class, transfer syntax and number of instances."""
    untried: dict[int, str]
    """Instance's id → SOP Instance UID, of those that iterating has not given yet: at its end, of those that are gone.
    Always empty for a plan of more than MAX_NAMED."""

    @cached_property
    def total(self) -> int:
        """The number of instances, which is that of the request's sub-operations."""
        return sum(count for _, _, count in self.counted)

    @property
    def classes(self) -> list[tuple[str, str]]:
        """Each pair of SOP Class UID and transfer syntax UID among the instances."""
        return [(sop_class, syntax) for sop_class, syntax, _ in self.counted]

    @cached_property
    def words(self) -> str:
        """The studies of the instances in words: CT Thorax, P001 and 2 more studies."""
        number, first = retrieve_queries.studies(self.selection, self.last) if self.total else (0, None)
        if first is None:
            return "No matching instances"
        modalities, description, patient_id = first
        parts = (modalities.strip(VALUE_SEPARATOR).replace(VALUE_SEPARATOR, "/"), description[:MAX_DESCRIPTION_LENGTH])
        name = " ".join(parts).strip() or "A study"
        more = "" if number == 1 else f" and {number - 1} more {'study' if number == 2 else 'studies'}"
        return f"{name}, {patient_id or 'no Patient ID'}{more}"

    def __iter__(self) -> Iterator[Outgoing]:
        """Series by series, each in the order of its instance numbers; no cursor is open between two instances."""
        after_series, more_series = None, self.total > 0
        while more_series and (page := retrieve_queries.series(self.selection, self.last, after_series)):
            for series in page:
                after, more = None, True
                while more and (rows := retrieve_queries.instances(self.selection, series.id, self.last, after)):
                    for _, stored in rows:
                        self.untried.pop(stored.instance_id, None)
                        yield _outgoing(stored, study_id=series.key[0])
                    after, more = rows[-1][0], len(rows) == ROWS_PER_PAGE
            after_series, more_series = page[-1].key, len(page) == ROWS_PER_PAGE


def plan(request: Dataset, scope: Scope, *, root: Root, relational: bool = False) -> Plan:
    """What the request means within the scope, by the unique keys alone; other keys are ignored (PS3.4 C.4.2.2.1).

    `relational`: without the unique keys of the levels above that it does not name (PS3.4 C.4.2.2.2).

    Raises BadIdentifier for an unknown level, and if a unique key is missing, empty or a pattern (A900).
    """
    identifier = identifiers.read(request, root=root)
    criteria = list(identifier.above(relational=relational))

    # The unique key of the level itself: a UID or a list of them; at PATIENT level one ID.
    attribute = UNIQUE_KEYS[identifier.level]
    key = identifier.by_tag.get(attribute.tag)
    values = key.values if key else ()
    found = matching.criterion(attribute, values)
    several = len(values) > 1 and identifier.level is Level.PATIENT
    if found is None or several or any(matching.is_wild(value) for value in values):
        name = keyword_for_tag(attribute.tag)
        raise BadIdentifier(f"A retrieval at {identifier.level.name} level needs {name}, without wild cards.")
    criteria.append(found)

    # The issuer of the Patient ID, if the request names it.
    key = identifier.by_tag.get(ISSUER_OF_PATIENT_ID.tag)
    issuer = matching.criterion(ISSUER_OF_PATIENT_ID, key.values) if key and identifier.root == "patient" else None
    if issuer:
        criteria.append(issuer)

    conditions = tuple((each.attribute.table, each.attribute.column, each.condition) for each in criteria)
    selection, last = Selection(scope.projects, conditions), retrieve_queries.last_instance()
    if not selection.projects:
        return Plan(selection, last, (), {})
    instances = retrieve_queries.identities(selection, last, MAX_NAMED + 1)
    if len(instances) > MAX_NAMED:
        return Plan(selection, last, retrieve_queries.count_by_class(selection, last), {})
    counted = Counter((sop_class, syntax) for _, _, sop_class, syntax in instances)
    kinds = [(*kind, count) for kind, count in sorted(counted.items())]
    return Plan(selection, last, kinds, {instance_id: sop_uid for instance_id, sop_uid, _, _ in instances})


def encode_failed_list(uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """The identifier of a final response: the Failed SOP Instance UID List (PS3.4 C.4.2.1.4.2), in a context's syntax.

    In Explicit VR a value of more than 65,534 bytes has the VR UN (PS3.5 6.2.2).
    """
    value = VALUE_SEPARATOR.join(uids).encode("ascii", "replace")
    value += bytes(len(value) & 1)
    order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
    tag = struct.pack(f"{order}HH", *divmod(FAILED_SOP_INSTANCE_UID_LIST, 0x10000))
    if transfer_syntax_uid == ImplicitVRLittleEndian:
        encoded = tag + struct.pack("<L", len(value)) + value
    elif len(value) <= MAX_SHORT_LENGTH:
        encoded = tag + b"UI" + struct.pack(f"{order}H", len(value)) + value
    else:
        encoded = tag + b"UN\0\0" + struct.pack(f"{order}L", len(value)) + value
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return encoded
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(encoded) + deflater.flush()
    return deflated + bytes(len(deflated) & 1)


def for_objects(wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Outgoing]:
    """Instances by their file and their member, which is empty for a file that is the object."""
    members = list({member for _, member in wanted})
    stored = retrieve_queries.instances_of_files(list({file_id for file_id, _ in wanted}), members)
    return {(one.file_id, one.member): _outgoing(one) for one in stored}


def of_uids(sop_instance_uids: Sequence[str]) -> list[tuple[OwnedInstance, Outgoing]]:
    """Each stored object with one of these UIDs, in whatever project, and where its bytes are."""
    return [(one, _outgoing(one.stored)) for one in retrieve_queries.instances_of_uids(sop_instance_uids)]


def _outgoing(stored: StoredInstance, *, study_id: int = 0) -> Outgoing:
    return Outgoing(
        file_id=stored.file_id,
        member=stored.member,
        sop_class_uid=stored.sop_class,
        sop_instance_uid=stored.sop_uid,
        transfer_syntax_uid=stored.transfer_syntax,
        place=stored.place,
        digest=stored.digest,
        record=stored.record,
        study_id=study_id,
    )
