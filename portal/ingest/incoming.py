"""The only way into the archive: every protocol writes its bytes to an `Incoming`."""

import hashlib
import io
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import BinaryIO, Self, cast

from portal import runtime, site_settings
from portal.access.actors import NOTHING_RECORDED, Origin, RecordedMetadata
from portal.access.rights import Scope
from portal.archive import Place, Stream
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
from portal.ingest.placement import Placement
from portal.ingest.placement import check as check_placement
from portal.ingest.register import Arrival, Stored
from portal.zip_members import survey

MAX_RECOMPARISONS = 2
"""Comparisons with objects that others store under the same UID at the same moment; later ones are left to a job."""
MAX_BYTES_IN_MEMORY = 16 << 20
"""Bytes up to which an object is kept in memory; a larger one is streamed into a segment of its own."""


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
        self._chunks: list[bytes] = []
        self._stream: Stream | None = None
        self._survey: survey.Survey | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self.memory_limit = MAX_BYTES_IN_MEMORY
        """Bytes up to which it stays in memory; less for one of several objects that are received at once."""
        if command is not None:
            self.write(file_meta.write(**asdict(command)))
        self._meta_size = self._size
        """Bytes of the file meta before the data set of a command."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    @property
    def bytes_in_memory(self) -> int:
        return 0 if self._stream is not None else self._size

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far, in hex."""
        return self._digest.hexdigest()

    @property
    def zip_member_count(self) -> int | None:
        """After the commit: the members of a zip; None for any other file."""
        return None if self._survey is None else self._survey.members

    def is_dicom(self) -> bool:
        """Whether the bytes so far are a DICOM object that can be indexed."""
        with self._content() as content:
            return self._parse(content)[0] is not None

    def place(self, wanted: Placement, scope: Scope | None = None) -> None:
        """Change the placement, before the commit, in another scope if one is given. Raises as `open` does."""
        self._scope = scope or self._scope
        check_placement(wanted, self._scope)
        self._wanted = wanted

    def write(self, chunk: Part) -> None:
        """Add the next bytes. Raises NoSpace where they no longer fit."""
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._stream is None and self._size > self.memory_limit:
            self._stream = runtime.archive().stream()
            for waiting in self._chunks:
                self._stream.write(waiting)
            self._chunks.clear()
        stream = self._stream
        if stream is None:
            self._chunks.append(bytes(chunk))
            return
        # The disk is checked again with each CHUNK bytes.
        if stream.size // CHUNK != (stream.size + len(chunk)) // CHUNK:
            disk_reserve.check()
        stream.write(chunk)

    def commit(self) -> Stored:
        """Store the object and index it; on return it is on the disk, with its rows.

        Raises NotDicom for a C-STORE data set that cannot be indexed, NoSpace, Missing where the container is deleted
        meanwhile, and Conflicting where the site or the sender wants different content refused; then nothing stays.
        """
        try:
            arrival = self._arrival()
            known = register.find_stored(arrival)
            if known is not None and mending.is_intact(known):
                stored = zip_index.finish(register.show_again(arrival, known), self._survey)
                self.abort()
                return _with_descriptions(stored)
            if known is None:
                arrival = register.compare(arrival, self._content)
                same = register.find_reencoded(arrival)
                if same is not None:
                    self.abort()
                    return _with_descriptions(register.show_again(arrival, same))
            register.check_policy(arrival, may_hold=self._may_hold)
            zip_index.check_policy(arrival, self._survey, self._content, may_hold=self._may_hold)
            footer = register.footer_for(arrival)
            if self._stream is not None:
                place = self._stream.commit(footer)
            else:
                disk_reserve.check(self._size)
                place = runtime.archive().append([b"".join(self._chunks)], footer)
        except BaseException:
            self.abort()
            raise
        self._stream, self._chunks = None, []
        if known is None:
            return _with_descriptions(zip_index.finish(_enter(arrival, place), self._survey))
        with late_refusals.writing_rows(arrival, place):
            stored = mending.repair(arrival, place, known)
        return _with_descriptions(stored)

    def abort(self) -> None:
        """Forget the object; safe to call at any time."""
        if self._stream is not None:
            self._stream.abort()
        self._stream, self._chunks = None, []
        if self._survey is not None:
            self._survey.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _arrival(self) -> Arrival:
        with self._content() as content:
            parsed, dataset_offset = self._parse(content)
            dataset_digest: str | None = None
            if dataset_offset is not None:
                digest = hashlib.sha256()
                content.seek(dataset_offset)
                while chunk := content.read(CHUNK):
                    digest.update(chunk)
                dataset_digest = digest.hexdigest()
            elif self._survey is None:
                self._survey = survey.of(content, self._size)
        return Arrival(
            size=self._size,
            digest=self._digest.hexdigest(),
            dataset_digest=dataset_digest,
            dataset_offset=dataset_offset,
            header=parsed,
            origin=self._origin,
            project_id=placement.project_for(self._wanted, self._scope, parsed.study_uid if parsed else None),
            container_type=self._wanted.container_type,
            container_id=self._wanted.container_id,
            name=self._wanted.name,
            also_here=self._wanted.also_here,
            recorded=self._recorded,
            members=0 if self._survey is None else self._survey.count,
        )

    def _content(self) -> BinaryIO:
        """All bytes so far, as a file."""
        if self._stream is None:
            return io.BytesIO(b"".join(self._chunks))
        return cast(BinaryIO, self._stream.content())

    def _parse(self, content: BinaryIO) -> tuple[Header | None, int | None]:
        """Header and offset of the data set. A file by REST that is no DICOM, or cannot be indexed, has neither."""
        if self._command is not None:
            content.seek(self._meta_size)
            syntax, size = self._command.transfer_syntax_uid, self._size - self._meta_size
            parsed = header.read(content, size=size, transfer_syntax_uid=syntax, is_strict=True)
            if self._command.differs_from(parsed):
                raise NotDicom("The command names another SOP Class or Instance than the data set (PS3.4 B.2.3).")
            return parsed, self._meta_size
        try:
            return header.read_file(content, self._size)
        except NotDicom:
            if self._only_dicom:
                raise
            return None, None


def _with_descriptions(stored: Stored) -> Stored:
    """Refresh study and series after an object that replaced another one, or is shown again."""
    if stored.message in (conflicts.REPLACED, index.SHOWN_AGAIN):
        descriptions.refresh()
    return stored


def _enter(arrival: Arrival, place: Place) -> Stored:
    """Write the rows of a record, after a comparison with any object that came under its UID since the last one."""

    def kept() -> BinaryIO:
        return cast(BinaryIO, runtime.archive().open(place.segment, place.offset, place.size))

    for _ in range(MAX_RECOMPARISONS):
        with late_refusals.writing_rows(arrival, place):
            if not register.is_overtaken(arrival):
                return _write_rows(arrival, place)
        arrival = register.compare(arrival, kept)
        same = register.find_reencoded(arrival)
        if same is not None:
            return same
    with late_refusals.writing_rows(arrival, place):
        return _write_rows(arrival, place)


def _write_rows(arrival: Arrival, place: Place) -> Stored:
    stored = register.write_rows(arrival, place)
    if stored.outcome == "conflict" and arrival.header and site_settings.get("archive.duplicates") == "replace":
        return conflicts.apply_replace_policy(stored)
    if stored.outcome == "alternate":
        alternates.request_comparison()
    return stored
