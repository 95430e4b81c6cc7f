"""The only way into the archive: every protocol writes its bytes to an `Incoming`."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self, cast

from portal import runtime, site_settings
from portal.access.actors import NOTHING_RECORDED, Origin, RecordedMetadata
from portal.access.rights import Scope
from portal.archive import Place
from portal.archive.slices import CHUNK
from portal.archive.writers import Part
from portal.dicom import file_meta, header, uids
from portal.dicom.header import Header
from portal.errors import NotDicom
from portal.ingest import (
    alternates,
    conflicts,
    descriptions,
    disk_reserve,
    index,
    late_refusals,
    mending,
    placement,
    register,
    zip_index,
)
from portal.ingest.filing import WaitingObject, filing
from portal.ingest.placement import Placement
from portal.ingest.placement import check as check_placement
from portal.ingest.received import ReceivedBytes
from portal.ingest.register import Arrival, Stored
from portal.zip_members import survey

MAX_RECOMPARISONS = 2
"""Comparisons with objects that others store under the same UID at the same moment; later ones are left to a job."""


@dataclass(frozen=True)
class StoreCommand:
    """What C-STORE's command and presentation context state about its data set (PS3.7 9.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    def differs_from(self, parsed: Header) -> bool:
        return (self.sop_class_uid, self.sop_instance_uid) != (parsed.sop_class, parsed.sop_uid)


def open(
    *,
    scope: Scope,
    origin: Origin,
    placement: Placement,
    sop_class_uid: str | None = None,
    sop_instance_uid: str | None = None,
    transfer_syntax_uid: str | None = None,
    only_dicom: bool = False,
    may_hold: bool = True,
    recorded: RecordedMetadata = NOTHING_RECORDED,
) -> "Incoming":
    """Begin to receive one object.

    With the three UIDs the bytes are a bare data set (C-STORE), without them a whole file; `only_dicom` refuses a file
    that cannot be indexed. Without `may_hold` an object is refused that would be held for a site admin to decide.
    Raises before a byte is kept: NotAllowed or Missing for the placement, NoSpace for the disk's reserve, NotDicom for
    the UIDs.
    """
    disk_reserve.check()
    check_placement(placement, scope)
    if sop_class_uid is None or sop_instance_uid is None or transfer_syntax_uid is None:
        return Incoming(scope, origin, placement, None, only_dicom=only_dicom, may_hold=may_hold, recorded=recorded)
    command = StoreCommand(
        uids.clean(sop_class_uid, name="The Affected SOP Class UID"),
        uids.clean(sop_instance_uid, name="The Affected SOP Instance UID"),
        uids.clean(transfer_syntax_uid, name="The transfer syntax"),
    )
    return Incoming(scope, origin, placement, command)


class Incoming:
    """One object that is being received. `commit` returns once it is durable; without a commit nothing stays."""

    def __init__(
        self,
        scope: Scope,
        origin: Origin,
        wanted: Placement,
        command: StoreCommand | None,
        *,
        only_dicom: bool = False,
        may_hold: bool = True,
        recorded: RecordedMetadata = NOTHING_RECORDED,
    ) -> None:
        self._may_hold = may_hold
        self._only_dicom, self._recorded = only_dicom or command is not None, recorded
        self._scope, self._origin, self._wanted, self._command = scope, origin, wanted, command
        self._survey: survey.Survey | None = None
        head = b""
        if command is not None:
            head = file_meta.write(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                transfer_syntax_uid=command.transfer_syntax_uid,
            )
        self._received = ReceivedBytes(head)
        self._meta_size = len(head)
        """Bytes of the file meta before the data set of a command."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._received.size

    @property
    def bytes_in_memory(self) -> int:
        return self._received.bytes_in_memory

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far, in hex."""
        return self._received.digest

    @property
    def zip_member_count(self) -> int | None:
        """After the commit: the members of a zip; None for any other file."""
        return None if self._survey is None else self._survey.members

    def limit_memory(self, size: int) -> None:
        """Keep no more bytes than this in memory: it is one of several objects that are received at once."""
        self._received.memory_limit = size

    def is_dicom(self) -> bool:
        """Whether the bytes so far are a DICOM object that can be indexed."""
        with self._received.content() as content:
            return self._parse(content)[0] is not None

    def place(self, wanted: Placement, scope: Scope | None = None) -> None:
        """Change the placement, before the commit, in another scope if one is given. Raises as `open` does."""
        self._scope = scope or self._scope
        check_placement(wanted, self._scope)
        self._wanted = wanted

    def write(self, chunk: Part) -> None:
        """Add the next bytes. Raises NoSpace where they no longer fit."""
        self._received.write(chunk)

    def commit(self) -> Stored:
        """Store the object and index it; on return it is on the disk, with its rows.

        Raises NotDicom for a C-STORE data set that cannot be indexed, NoSpace, Missing where the container is deleted
        meanwhile, and Conflicting where the site or the sender wants different content refused; then nothing stays.
        """
        try:
            arrival = self._arrival()
            if self._command is not None and arrival.header is not None and self._received.is_in_memory:
                waiting = WaitingObject(arrival, arrival.header, self._received, wanted=self._wanted, scope=self._scope)
                filing.file(waiting)
                if waiting.stored is not None:
                    return waiting.stored
                if waiting.place is not None:
                    return _with_descriptions(_enter_late(waiting, waiting.place))
            return self._commit_alone(arrival)
        finally:
            self.abort()

    def abort(self) -> None:
        """Forget the object; safe to call at any time."""
        self._received.discard()
        if self._survey is not None:
            self._survey.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _commit_alone(self, arrival: Arrival) -> Stored:
        """Judge the object, and store it."""
        arrival = replace(arrival, project_id=placement.project_for(self._wanted, self._scope, arrival.header))
        known = register.find_stored(arrival)
        if known is not None and mending.is_intact(known):
            return _with_descriptions(zip_index.finish(register.show_again(arrival, known), self._survey))
        if known is None:
            arrival = register.compare(arrival, self._received.content)
            same = register.find_reencoded(arrival)
            if same is not None:
                return _with_descriptions(register.show_again(arrival, same))
        register.check_policy(arrival, may_hold=self._may_hold)
        zip_index.check_policy(arrival, self._survey, self._received.content, may_hold=self._may_hold)
        place = self._received.commit(register.footer_for(arrival))
        if known is None:
            return _with_descriptions(zip_index.finish(_enter(arrival, place), self._survey))
        with late_refusals.writing_rows(arrival, place):
            stored = mending.repair(arrival, place, known)
        return _with_descriptions(stored)

    def _arrival(self) -> Arrival:
        """The object as it came, without its project."""
        with self._received.content() as content:
            parsed, dataset_offset = self._parse(content)
            dataset_digest = None if dataset_offset is None else self._received.data_set_digest(dataset_offset)
            if dataset_offset is None:
                self._survey = self._survey or survey.of(content, self.size)
            elif dataset_digest is None:
                digest = hashlib.sha256()
                content.seek(dataset_offset)
                while chunk := content.read(CHUNK):
                    digest.update(chunk)
                dataset_digest = digest.hexdigest()
        return Arrival(
            size=self.size,
            digest=self._received.digest,
            dataset_digest=dataset_digest,
            dataset_offset=dataset_offset,
            header=parsed,
            origin=self._origin,
            project_id=0,
            container_type=self._wanted.container_type,
            container_id=self._wanted.container_id,
            name=self._wanted.name,
            also_here=self._wanted.also_here,
            recorded=self._recorded,
            members=0 if self._survey is None else self._survey.count,
        )

    def _parse(self, content: BinaryIO) -> tuple[Header | None, int | None]:
        """Header and offset of the data set. A file by REST that is no DICOM, or cannot be indexed, has neither."""
        if self._command is not None:
            content.seek(self._meta_size)
            syntax, size = self._command.transfer_syntax_uid, self.size - self._meta_size
            parsed = header.read(content, size=size, transfer_syntax_uid=syntax, is_strict=True)
            if self._command.differs_from(parsed):
                raise NotDicom("The command names another SOP Class or Instance than the data set (PS3.4 B.2.3).")
            return parsed, self._meta_size
        try:
            return header.read_file(content, self.size)
        except NotDicom:
            if self._only_dicom:
                raise
            return None, None


def _with_descriptions(stored: Stored) -> Stored:
    """Refresh study and series after an object that replaced another one, or is shown again."""
    if stored.message in (conflicts.REPLACED, index.SHOWN_AGAIN):
        descriptions.refresh()
    return stored


def _enter_late(waiting: WaitingObject, place: Place) -> Stored:
    """Write the rows of a record whose object was simply new until then."""
    arrival = register.compare(replace(waiting.arrival, project_id=waiting.project_id), partial(_open, place))
    return register.find_reencoded(arrival) or _enter(arrival, place)


def _enter(arrival: Arrival, place: Place) -> Stored:
    """Write the rows of a record, after a comparison with any object that came under its UID since the last one."""
    for _ in range(MAX_RECOMPARISONS):
        with late_refusals.writing_rows(arrival, place):
            if not register.is_overtaken(arrival):
                return _write_rows(arrival, place)
        arrival = register.compare(arrival, partial(_open, place))
        same = register.find_reencoded(arrival)
        if same is not None:
            return same
    with late_refusals.writing_rows(arrival, place):
        return _write_rows(arrival, place)


def _open(place: Place) -> BinaryIO:
    return cast(BinaryIO, runtime.archive().open(place.segment, place.offset, place.size))


def _write_rows(arrival: Arrival, place: Place) -> Stored:
    stored = register.write_rows(arrival, place)
    if stored.outcome == "conflict" and arrival.header and site_settings.get("archive.duplicates") == "replace":
        return conflicts.apply_replace_policy(stored)
    if stored.outcome == "alternate":
        alternates.request_comparison()
    return stored
