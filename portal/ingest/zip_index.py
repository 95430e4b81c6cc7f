"""The index rows of a zip: one instance for each member that is a DICOM object (docs/decisions/0094).

They are written in short write blocks after the file itself. A row of DicomZip says whether all are written, or all
removed: whoever finds one that is not settled goes on from where a kill has stopped.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO, cast

from peewee import SQL, DatabaseError

from portal import runtime, site_settings
from portal.dicom.same_content import EncodedDataset
from portal.errors import BadValue, Conflicting, Damaged, PortalError
from portal.ingest import (
    alternates,
    conflicts,
    descriptions,
    duplicates,
    index,
    patients,
    placement,
    register,
)
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import Verdict
from portal.ingest.patients import Patient
from portal.ingest.register import Arrival, Stored
from portal.models import HELD, Blob, Conflict, DicomZip, File, Instance, ZipMember, arrivals, now, writing
from portal.models.batched_writes import BatchWriter
from portal.zip_members import directory, object_content, objects, survey
from portal.zip_members.objects import ZippedObject
from portal.zip_members.survey import Survey

log = logging.getLogger(__name__)

FIRST_BATCH_SIZE = 40
"""Members of the first write block; later ones take as many as 25 ms allow."""


def check_policy(arrival: Arrival, found: Survey | None, content: Callable[[], BinaryIO], *, may_hold: bool) -> None:
    """Raise Conflicting where an object of a zip would be held, and the site or the sender wants none held.

    `content` opens the zip, to compare its objects with those of their UIDs. Reads only.
    """
    if found is None:
        return
    policy = site_settings.get("archive.duplicates")
    if may_hold and policy != "refuse":
        return
    replaced = register.plain_file(arrival)
    own, held, message = _OwnObjects(), 0, ""
    with content() as opened:
        for one in found:
            verdict = own.judge(one) or _judge(arrival.project_id, one, opened, instead_of=replaced)
            if verdict.state != HELD or (policy == "replace" and verdict.kind == "content"):
                continue
            held, message = held + 1, message or verdict.message
    if held:
        number = f"{held:,} of the {found.count:,} objects in the zip" if found.count > 1 else "the object in the zip"
        raise Conflicting(f"Refused for {number}: {message} Send what is different under UIDs of its own.")


def finish(stored: Stored, found: Survey | None) -> Stored:
    """The result for a file, once the members of a zip are indexed; `found`: its objects, where it is one."""
    if found is None and not stored.is_unsettled:
        return stored
    states = settle(stored.file_id, found)
    notes = []
    if states[HELD]:
        verb = "is" if states[HELD] == 1 else "are"
        notes.append(f"{states[HELD]:,} of its {states.total():,} objects {verb} held until a site admin decides.")
    if found is not None and found.unread:
        number = "1 member is" if found.unread == 1 else f"{found.unread:,} members are"
        notes.append(f"{number} encrypted or packed in a way that is not read, and not indexed.")
    return replace(stored, message=" ".join(notes)) if notes else stored


def settle(file_id: int, found: Iterable[ZippedObject] | None = None) -> Counter[str]:
    """Make the instances of a file those of its members: none of one that is in the trash or no zip any more.

    `found`: its objects, where they are known; else they are read from the archive. Returns how many were added, by
    state. Of several at once, each does what the others have not done. Raises Unreachable while the archive's bucket is
    away; then, and after a kill, a sweep goes on.
    """
    states: Counter[str] = Counter()
    if not DicomZip.select().where(DicomZip.file == file_id, DicomZip.is_settled == SQL("0")).exists():
        return states
    blob = _blob_to_index(file_id)
    _remove_others(file_id, blob)
    writer = BatchWriter()
    writer.rows = FIRST_BATCH_SIZE
    if blob is not None:
        try:
            with runtime.archive().open(blob.segment, blob.offset, blob.size) as stored:
                content = cast(BinaryIO, stored)
                if found is None:
                    found = objects.read(content, directory.read(content, blob.size))
                for batch in writer.chunks(found):
                    states.update(_add(file_id, blob, batch, content, writer))
        except (BadValue, Damaged) as error:  # what could be read is indexed, and nothing more can be
            # Without the message: it has the name of the member, which may be a patient's.
            log.error("file %d: not all members of the zip can be indexed (%s)", file_id, type(error).__name__)
    with writing():
        if _blob_to_index(file_id) == blob:
            DicomZip.update(is_settled=True).where(DicomZip.file == file_id).execute()
            DicomZip.delete().where(DicomZip.file == file_id, DicomZip.objects == 0).execute()
    descriptions.refresh()
    return states


def settle_all(left_alone: timedelta = timedelta()) -> None:
    """Settle each zip that nobody has worked on for that long: a kill has stopped whoever did."""
    moment = now()
    for row in list(DicomZip.select().where(DicomZip.is_settled == SQL("0"))):
        if abs(moment - row.since) < left_alone:
            continue
        try:
            states = settle(row.file_id)
            log.info("file %d: %d members of the zip indexed after a stop", row.file_id, states.total())
        except (PortalError, OSError, DatabaseError) as error:  # one zip must not stop the others
            log.error("file %d: its members cannot be indexed now (%s)", row.file_id, type(error).__name__)


def adopt(file_id: int) -> int:
    """Index a plain file that came before zips were read; returns how many instances it has now.

    A zip that would be refused today stays a plain file.
    """
    file = File.get_by_id(file_id)
    with runtime.archive().open(file.blob.segment, file.blob.offset, file.blob.size) as stored:
        try:
            found = survey.of(cast(BinaryIO, stored), file.blob.size)
        except (BadValue, Damaged) as error:
            log.warning("file %d stays a plain file: a zip that is refused today (%s)", file_id, type(error).__name__)
            return 0
    if found is None:
        return 0
    with contextlib.closing(found):
        if not found.count:
            return 0
        with writing():
            File.update(type="dicom", mimetype=register.ZIP).where(File.id == file_id).execute()
            DicomZip.insert(file=file_id, objects=found.count).on_conflict_ignore().execute()
        return settle(file_id, found).total()


def unsettle(file_ids: Sequence[int]) -> list[int]:
    """Note, inside the caller's write block, that zips among these files are shown or hidden now; returns those.

    The caller settles them after its write block.
    """
    zips = [row.file_id for row in DicomZip.select(DicomZip.file).where(DicomZip.file.in_(list(file_ids)))]
    DicomZip.update(is_settled=False, since=now()).where(DicomZip.file.in_(zips)).execute()
    return zips


def _blob_to_index(file_id: int) -> Blob | None:
    """The zip whose members are to be indexed now; None where the file is in the trash, or no zip any more."""
    zips = File.select(File, Blob).join(Blob).switch(File).join(DicomZip).where(DicomZip.objects > 0)
    file: File | None = zips.where(File.id == file_id, File.deleted_at.is_null()).get_or_none()
    return None if file is None else file.blob


def _remove_others(file_id: int, blob: Blob | None) -> None:
    """Remove the instances that are no members of this blob, some at a time."""
    others = Instance.select(Instance.id).join(ZipMember).where(Instance.file == file_id)
    if blob is not None:
        others = others.where(ZipMember.blob != blob)
    writer = BatchWriter()
    while True:
        with writer.writing():
            ids = [row.id for row in others.limit(writer.rows)]
            if not ids:
                return
            index.remove(Instance.id.in_(ids))
            DicomZip.update(since=now()).where(DicomZip.file == file_id).execute()


def _add(
    file_id: int, blob: Blob, batch: Sequence[ZippedObject], content: BinaryIO, writer: BatchWriter
) -> Counter[str]:
    """Write the rows of some members, each compared before with the objects of its UID; returns their states."""
    states: Counter[str] = Counter()
    project_id = placement.project_id_of(File.get_by_id(file_id))
    compared = [_compare(project_id, one, content) for one in batch]
    replaces = site_settings.get("archive.duplicates") == "replace"
    with writer.writing():
        if _blob_to_index(file_id) != blob:
            return states
        file = File.get_by_id(file_id)
        names = [one.member.name for one in batch]
        written = Instance.select(Instance.member).where(Instance.file == file_id, Instance.member.in_(names))
        done = {row.member for row in written}
        known = Conflict.select().where(Conflict.file == file_id, Conflict.member.in_(names))
        decided = {row.member: row for row in known}
        members: list[dict[str, Any]] = []
        for one, comparison in zip(batch, compared, strict=True):
            name = one.member.name
            if name in done:
                continue
            verdict = index.judge_member(project_id, one.header, one.dataset_digest, compared=comparison)
            verdict = conflicts.hold_if_undecided(verdict, decided.get(name))
            instance = index.add(project_id, file, one.header, one.dataset_digest, verdict, member=name)
            members.append(_member_row(instance, blob, one))
            if name in decided:
                conflicts.reapply(decided[name])
            elif verdict.kind == "content" and replaces:
                conflicts.replace_by_policy(file_id, name)
            if verdict.message in index.PENDING_COMPARISON:
                alternates.request_comparison()
            states[str(Instance.get_by_id(instance.id).state) if verdict.state == HELD else verdict.state] += 1
        if members:
            ZipMember.insert_many(members).execute()
        DicomZip.update(since=now()).where(DicomZip.file == file_id).execute()
    return states


def _member_row(instance: Instance, blob: Blob, one: ZippedObject) -> dict[str, Any]:
    member = one.member
    return {
        "instance": instance.id,
        "blob": blob.id,
        "offset": member.offset,
        "packed_size": member.packed_size,
        "size": member.size,
        "is_deflated": member.method != directory.STORED,
        "dataset_offset": one.dataset_offset,
    }


def _judge(project_id: int, one: ZippedObject, content: BinaryIO, *, instead_of: File | None) -> Verdict:
    compared = _compare(project_id, one, content)
    number = None if instead_of is None else int(instead_of.id)
    return index.judge_member(project_id, one.header, one.dataset_digest, compared=compared, instead_of=number)


def _compare(project_id: int, one: ZippedObject, content: BinaryIO) -> DuplicateComparison | None:
    """Its comparison with the objects of its UID; None where that is not needed: exactly this object is shown."""
    header = one.header
    if arrivals.is_current_object(project_id, header.sop_uid, header.transfer_syntax, one.dataset_digest):
        return None
    with contextlib.ExitStack() as opened:

        def read() -> EncodedDataset:
            source = opened.enter_context(object_content.to_seek(objects.open_member(content, one.member)))
            source.seek(one.dataset_offset)
            return EncodedDataset(source, one.member.size - one.dataset_offset, header.transfer_syntax)

        return duplicates.compare(project_id, header, read)


class _OwnObjects:
    """The objects of one zip so far, which may contradict each other."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], str] = {}
        self._patients: dict[str, Patient] = {}
        self._studies: dict[str, str] = {}

    def judge(self, one: ZippedObject) -> Verdict | None:
        """Held where it contradicts one before; else None."""
        header = one.header
        known = self._objects.setdefault((header.sop_uid, header.transfer_syntax), one.dataset_digest)
        if known != one.dataset_digest:
            return Verdict(state=HELD, kind="content", message=index.DIFFERENT_CONTENT)
        patient = Patient(header.patient_id, header.issuer)
        if not patients.is_same(self._patients.setdefault(header.study_uid, patient), patient):
            return Verdict(state=HELD, kind="patient", message="Its study has two Patient IDs in the zip.")
        if self._studies.setdefault(header.series_uid, header.study_uid) != header.study_uid:
            return Verdict(state=HELD, kind="study", message="Its series is in two studies of the same zip.")
        return None
