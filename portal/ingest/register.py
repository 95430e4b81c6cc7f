"""Registers one record of the archive: its blob, file and index rows, in one transaction."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from portal import site_settings
from portal.access.actors import NOTHING_RECORDED, Actor, Origin, RecordedMetadata
from portal.archive import Footer, Place
from portal.dicom.header import Header
from portal.dicom.same_content import EncodedDataset
from portal.errors import Conflicting
from portal.ingest import duplicates, file_types, index, placement
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import IN_TWO_PLACES, SAME, ContainerKey, Verdict
from portal.models import (
    ALTERNATE,
    CURRENT,
    DICOM,
    HELD,
    Blob,
    DicomZip,
    File,
    arrivals,
    now,
    writing,
)
from portal.tree import versions

log = logging.getLogger(__name__)

ZIP = "application/zip"
"""The MIME type of a zip with DICOM objects; its type is `dicom`, as that of a single object."""
OUTCOME_BY_STATE = {CURRENT: "stored", ALTERNATE: "alternate", HELD: "conflict"}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """An object before it has rows."""

    size: int
    digest: str
    dataset_digest: str | None
    dataset_offset: int | None
    header: Header | None
    """None for a file that is no DICOM object, or one that cannot be indexed."""
    origin: Origin
    project_id: int
    container_type: str | None
    """With its id: the container that the client chose. None: the one that follows from the header."""
    container_id: int | None
    name: str | None
    recorded: RecordedMetadata = NOTHING_RECORDED
    compared: DuplicateComparison | None = None
    """Its comparison with those of its UID; None where it was not compared: different bytes are different content."""
    also_here: bool = False
    """Whether it is kept in the container even if the same object is elsewhere in the project."""
    members: int = 0
    """DICOM objects among the members of a file that is a zip."""

    @property
    def kind(self) -> dict[str, str]:
        """Type and MIME type of a file that is not itself a DICOM object, as far as they are known."""
        if self.members:
            return {"type": "dicom", "mimetype": ZIP}
        return file_types.by_name(self.name or "") | self.recorded.kind

    @property
    def within(self) -> ContainerKey | None:
        """The only container in which the same object makes it `same`; None for the whole project."""
        if not self.also_here or self.container_type is None or self.container_id is None:
            return None
        return self.container_type, self.container_id


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The result for an object: stored, same, alternate, conflict, or version (different content, same file name)."""

    file_id: int
    outcome: str
    size: int
    digest: str
    message: str = ""
    version: int | None = None
    """The version of the file with the same content, where that is an older one."""
    member: str = ""
    """Of `same`: the member of the file that is the object."""
    is_reencoded: bool = False
    """Of `same`: the bytes that arrived differ from those that are kept."""
    is_unsettled: bool = False
    """The file is or was a zip whose members are still to be indexed."""


def find_stored(arrival: Arrival) -> Stored | None:
    """The result for content that is stored already under the same UID or name, or None. Reads only."""
    if arrival.header is None:
        file = plain_file(arrival)
        row = None if file is None else versions.find_by_digest(file, arrival.digest, arrival.recorded.version)
        if file is None or row is None:
            return None
        same = _same(arrival, file.id)
        return same if row is file else replace(same, version=row.version)
    known = index.find_same(arrival.project_id, arrival.header, arrival.dataset_digest or "", arrival.within)
    return None if known is None else _same(arrival, *known)


def compare(arrival: Arrival, content: Callable[[], BinaryIO]) -> Arrival:
    """The arrival, compared with those of its UID; each call of `content` opens all its bytes as a file."""
    if arrival.header is None or arrival.dataset_offset is None:
        return arrival
    offset, syntax = arrival.dataset_offset, arrival.header.transfer_syntax
    with contextlib.ExitStack() as opened:

        def read() -> EncodedDataset:
            source = opened.enter_context(content())
            source.seek(offset)
            return EncodedDataset(source, arrival.size - offset, syntax)

        compared = duplicates.compare(arrival.project_id, arrival.header, read)
    return replace(arrival, compared=compared)


def find_reencoded(arrival: Arrival) -> Stored | None:
    """The result for an object that is stored already in a different encoding, or None. Reads only."""
    known = arrival.compared.same if arrival.compared else None
    if known is None:
        return None
    if arrival.within is not None:
        file = File.get_by_id(known.file_id)
        if (file.parent_type, file.parent_id) != arrival.within or known.member:
            return None  # it is kept in both containers, and beside a zip that has it
    return replace(_same(arrival, *known), is_reencoded=True)


def show_again(arrival: Arrival, known: Stored) -> Stored:
    """The result for an object that is stored already; it is shown if its UID has no current object any more."""
    if arrival.header is None or not index.is_hidden(arrival.project_id, arrival.header):
        return known
    with writing():
        return again(arrival, known)


def write_rows(arrival: Arrival, place: Place) -> Stored:
    """Write the rows of a record, inside the caller's write block.

    The object is judged here and not before, since another one may have come between; a record that turns out to be
    stored already stays without a row.
    """
    header = arrival.header
    if header is None:
        return find_stored(arrival) or _write_plain_file(arrival, create_blob(arrival, place))
    verdict = judge(arrival, header)
    if verdict.state == SAME:
        return again(arrival, _same(arrival, verdict.file_id, verdict.member))

    blob = create_blob(arrival, place)
    container_type, container_id = arrival.container_type, arrival.container_id
    if container_type is None or container_id is None:
        container_type = "acquisition"
        container_id = placement.acquisition_for(arrival.project_id, header, arrival.origin)
    placement.take_out_of_trash(container_type, container_id)
    name = arrival.name or f"{header.sop_uid}.dcm"
    file = File.create(
        parent_type=container_type,
        parent_id=container_id,
        name=placement.free_name(container_type, container_id, name),
        blob=blob,
        type="dicom",
        mimetype=DICOM,
        modality=header.modality or None,
        **arrival.origin.fields,
        **arrival.recorded.timestamps,
    )
    index.add(arrival.project_id, file, header, arrival.dataset_digest or "", verdict)
    outcome = "stored" if verdict.message == IN_TWO_PLACES else OUTCOME_BY_STATE[verdict.state]
    return Stored(file_id=file.id, outcome=outcome, size=arrival.size, digest=arrival.digest, message=verdict.message)


def judge(arrival: Arrival, header: Header) -> Verdict:
    """The verdict on the object among the existing ones. Reads only."""
    digest = arrival.dataset_digest or ""
    return index.judge(arrival.project_id, header, digest, arrival.within, compared=arrival.compared)


def check_policy(arrival: Arrival, *, may_hold: bool) -> None:
    """Raise Conflicting where the site's policy is to refuse different content, or the sender wants none held."""
    policy = site_settings.get("archive.duplicates")
    if arrival.header is None or (may_hold and policy != "refuse"):
        return
    verdict = judge(arrival, arrival.header)
    replaces = policy == "replace" and verdict.kind == "content"
    if verdict.state == HELD and not replaces:
        raise Conflicting(f"Refused: {verdict.message} Send it under a UID of its own.")


def is_overtaken(arrival: Arrival) -> bool:
    """Whether another object has arrived under its UID since it was compared. Reads only."""
    if arrival.header is None or arrival.compared is None:
        return False
    current = arrivals.current_object(arrival.project_id, arrival.header.sop_uid)
    if current is None or current.transfer_syntax != arrival.header.transfer_syntax:
        return False
    return current.file_id not in arrival.compared.files and find_stored(arrival) is None


def create_blob(arrival: Arrival, place: Place) -> Blob:
    return Blob.create(
        digest=arrival.digest,
        dataset_digest=arrival.dataset_digest,
        dataset_offset=arrival.dataset_offset,
        segment=place.segment,
        offset=place.offset,
        size=place.size,
    )


def _write_plain_file(arrival: Arrival, blob: Blob) -> Stored:
    """A file that is not indexed; with different content and an existing name it is the next version of that file."""
    file = plain_file(arrival)
    placement.take_out_of_trash(arrival.container_type or "project", arrival.container_id or 0)
    if file is None:
        file = File.create(
            parent_type=arrival.container_type,
            parent_id=arrival.container_id,
            name=placement.free_name(arrival.container_type or "", arrival.container_id or 0, arrival.name or "file"),
            blob=blob,
            version=arrival.recorded.version or 1,
            **arrival.origin.fields,
            **arrival.recorded.timestamps,
            **arrival.kind,
        )
        stored = Stored(file_id=file.id, outcome="stored", size=arrival.size, digest=arrival.digest)
    else:
        versions.add(file, blob, recorded=arrival.recorded, origin=arrival.origin)
        stored = Stored(file_id=file.id, outcome="version", size=arrival.size, digest=arrival.digest)
    was_zip = stored.outcome == "version" and DicomZip.select().where(DicomZip.file == file.id).exists()
    if file.blob_id != blob.id or not (arrival.members or was_zip):
        return stored  # an older version is no part of the index
    File.update({"type": None, "mimetype": None, **arrival.kind}).where(File.id == file.id).execute()
    DicomZip.insert(file=file, objects=arrival.members).on_conflict(
        conflict_target=[DicomZip.file], update={"objects": arrival.members, "is_settled": False, "since": now()}
    ).execute()
    return replace(stored, is_unsettled=True)


def plain_file(arrival: Arrival) -> File | None:
    """The live plain file of the arrival's name in its container; DICOM objects never share a name."""
    if arrival.container_type is None or arrival.container_id is None or arrival.name is None:
        return None
    file_id = arrivals.live_file(arrival.container_type, arrival.container_id, arrival.name)
    file: File | None = File.get_or_none(File.id == file_id, File.mimetype.is_null() | (File.mimetype != DICOM))
    return file


def again(arrival: Arrival, known: Stored) -> Stored:
    """As `show_again`, inside the caller's write block."""
    if arrival.header is not None and index.show_again(
        arrival.project_id, known.file_id, arrival.header, actor=actor_of(arrival), member=known.member
    ):
        return replace(known, message=index.SHOWN_AGAIN)
    return known


def actor_of(arrival: Arrival) -> Actor:
    return Actor(type=arrival.origin.type, id=arrival.origin.id, name="", via=arrival.origin.via)


def _same(arrival: Arrival, file_id: int | None, member: str = "") -> Stored:
    return Stored(file_id=file_id or 0, outcome=SAME, size=arrival.size, digest=arrival.digest, member=member)


def footer_for(arrival: Arrival, project_path: str = "") -> Footer:
    """The footer of the bytes in the archive: enough to place and index them without the database.

    `project_path`: GROUP/PROJECT, where it is known already.
    """
    return {
        "received_at": now().isoformat(),
        "digest": arrival.digest,
        "dataset_digest": arrival.dataset_digest,
        "dataset_offset": arrival.dataset_offset,
        "project": project_path or arrivals.project_path(arrival.project_id),
        "container": placement.container_path(arrival.container_type, arrival.container_id),
        "name": arrival.name,
        "origin": arrival.origin.fields,
        **({"members": arrival.members} if arrival.members else {}),
        **({} if arrival.recorded == NOTHING_RECORDED else {"recorded": arrival.recorded.to_json()}),
    }
