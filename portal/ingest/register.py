"""Turns one record of the archive into rows: blob, file and index, in one transaction."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from portal import runtime, site_settings
from portal.access import audit
from portal.access.actors import NOTHING_RECORDED, Actor, Origin, RecordedMetadata
from portal.archive import Place
from portal.dicom.header import Header
from portal.dicom.same_content import EncodedDataset
from portal.errors import Conflicting, Damaged
from portal.ingest import duplicates, index, placement
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import IN_TWO_PLACES, SAME, ContainerKey, Verdict
from portal.models import ALTERNATE, CURRENT, HELD, Blob, File, Segment, arrivals, writing
from portal.tree import versions

log = logging.getLogger(__name__)

OUTCOME_BY_STATE = {CURRENT: "stored", ALTERNATE: "alternate", HELD: "conflict"}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What is known of an object before it has a row."""

    size: int
    digest: str
    dataset_digest: str | None
    dataset_offset: int | None
    header: Header | None
    """None for a file that is no DICOM object, or one that cannot be indexed."""
    origin: Origin
    project_id: int
    container_type: str | None
    """With its id: where the client put it. None: where its header says."""
    container_id: int | None
    name: str | None
    recorded: RecordedMetadata = NOTHING_RECORDED
    compared: DuplicateComparison | None = None
    """What it is to those under its UID; None where it was not compared: whatever has other bytes is other content."""
    also_here: bool = False
    """Whether it is kept in the container although the same object stands elsewhere in the project."""

    @property
    def within(self) -> ContainerKey | None:
        """The container in which alone the same object would make it `same`."""
        if not self.also_here or self.container_type is None or self.container_id is None:
            return None
        return self.container_type, self.container_id


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How an object ended: stored, same, alternate, conflict, or version (other content under a file's name)."""

    file_id: int
    outcome: str
    size: int
    digest: str
    message: str = ""
    version: int | None = None
    """Where it is the same as an older version of a file: which one."""
    is_reencoded: bool = False
    """Of `same`: it came in other bytes than those that stay."""


def find_stored(arrival: Arrival) -> Stored | None:
    """The answer for content that is here under the same UID or name: nothing need be kept again. Reads only."""
    if arrival.header is None:
        return _same_version(arrival)
    file_id = index.find_same(arrival.project_id, arrival.header, arrival.dataset_digest or "", arrival.within)
    return None if file_id is None else _same(arrival, file_id)


def compare(arrival: Arrival, content: Callable[[], BinaryIO]) -> Arrival:
    """The arrival with what it is to those under its UID; each call of `content` gives all its bytes as a file."""
    if arrival.header is None or arrival.dataset_offset is None:
        return arrival
    offset, syntax = arrival.dataset_offset, arrival.header.transfer_syntax
    with contextlib.ExitStack() as opened:

        def read() -> EncodedDataset:
            source = opened.enter_context(content())
            source.seek(offset)
            return EncodedDataset(source, arrival.size - offset, syntax)

        found = duplicates.compare(arrival.project_id, arrival.header, read)
    return replace(arrival, compared=found)


def find_reencoded(arrival: Arrival) -> Stored | None:
    """The answer for an object that is here, encoded otherwise: nothing need be kept again. Reads only."""
    file_id = arrival.compared.same if arrival.compared else None
    if file_id is None:
        return None
    if arrival.within is not None:
        file = File.get_by_id(file_id)
        if (file.parent_type, file.parent_id) != arrival.within:
            return None  # it stands in both containers
    return replace(_same(arrival, file_id), is_reencoded=True)


def is_intact(stored: Stored) -> bool:
    """Whether the archive still has the bytes of what is here already.

    What lies in the bucket alone is believed unless the bucket is known to have lost or changed something of its
    segment: nobody waits for the bucket to be told that nothing need be kept.
    """
    blob, archive = _row(stored).blob, runtime.archive()
    try:
        with archive.open(blob.segment, blob.offset, blob.size) as content:
            if archive.is_here(blob.segment):
                return content.digest() == str(blob.digest)
    except (Damaged, OSError):
        return False
    return not Segment.select().where(Segment.name == blob.segment, Segment.damage != "").exists()


def repair(arrival: Arrival, place: Place, known: Stored) -> Stored:
    """Have a file whose bytes are damaged point to the record of the same object that came again; its row stays.

    Inside the caller's write block.
    """
    row = _row(known)
    log.warning("file %d was damaged in segment %s: the same object came again", known.file_id, row.blob.segment)
    row.blob = _blob(arrival, place)
    row.save(only=["blob"])
    audit.record(_actor(arrival), "file:mended", "file", known.file_id, version=row.version)
    return _again(arrival, known)


def show_again(arrival: Arrival, known: Stored) -> Stored:
    """The answer for what is here already; it is shown, if nothing is shown any more under its UID."""
    if arrival.header is None or not index.is_hidden(arrival.project_id, arrival.header):
        return known
    with writing():
        return _again(arrival, known)


def write_rows(arrival: Arrival, place: Place) -> Stored:
    """Write the rows of a record, inside the caller's write block.

    The object is judged here and not before, since another one may have come between; a record that turns out to be
    known already stays without a row.
    """
    if arrival.header is None:
        return find_stored(arrival) or _enter_plain(arrival, _blob(arrival, place))
    verdict = judge(arrival, arrival.header)
    if verdict.state == SAME:
        return _again(arrival, _same(arrival, verdict.file_id))
    return _enter_dicom(arrival, arrival.header, _blob(arrival, place), verdict)


def judge(arrival: Arrival, header: Header) -> Verdict:
    """What it is to those that are here. Reads only."""
    digest = arrival.dataset_digest or ""
    return index.judge(arrival.project_id, header, digest, arrival.within, compared=arrival.compared)


def check_policy(arrival: Arrival, *, may_hold: bool) -> None:
    """Raise Conflicting where the site's policy is to refuse other content (C111), or the sender wants none held."""
    policy = site_settings.get("archive.duplicates")
    if arrival.header is None or (may_hold and policy != "refuse"):
        return
    verdict = judge(arrival, arrival.header)
    takes_its_place = policy == "replace" and verdict.kind == "content"
    if verdict.state == HELD and not takes_its_place:
        raise Conflicting(f"Refused: {verdict.message} Send it under a UID of its own.")


def is_overtaken(arrival: Arrival) -> bool:
    """Whether another object came under its UID since it was compared. Reads only."""
    if arrival.header is None or arrival.compared is None:
        return False
    current = arrivals.current_object(arrival.project_id, arrival.header.sop_uid)
    if current is None or current.transfer_syntax != arrival.header.transfer_syntax:
        return False
    return current.file_id not in arrival.compared.files and find_stored(arrival) is None


def _blob(arrival: Arrival, place: Place) -> Blob:
    return Blob.create(
        digest=arrival.digest,
        dataset_digest=arrival.dataset_digest,
        dataset_offset=arrival.dataset_offset,
        segment=place.segment,
        offset=place.offset,
        size=place.size,
    )


def _enter_dicom(arrival: Arrival, header: Header, blob: Blob, verdict: Verdict) -> Stored:
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
        mimetype="application/dicom",
        **arrival.origin.fields,
        **arrival.recorded.timestamps,
    )
    index.add(arrival.project_id, file, header, arrival.dataset_digest or "", verdict)
    return Stored(
        file_id=file.id,
        outcome="stored" if verdict.message == IN_TWO_PLACES else OUTCOME_BY_STATE[verdict.state],
        size=arrival.size,
        digest=arrival.digest,
        message=verdict.message,
    )


def _enter_plain(arrival: Arrival, blob: Blob) -> Stored:
    """A file that is not indexed. Other content under its name makes it the next version; the old one stays."""
    file = _namesake(arrival)
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
            **arrival.recorded.kind,
        )
        return Stored(file_id=file.id, outcome="stored", size=arrival.size, digest=arrival.digest)
    versions.add(file, blob, recorded=arrival.recorded, origin=arrival.origin)
    return Stored(file_id=file.id, outcome="version", size=arrival.size, digest=arrival.digest)


def _same_version(arrival: Arrival) -> Stored | None:
    file = _namesake(arrival)
    row = None if file is None else versions.find_by_digest(file, arrival.digest, arrival.recorded.version)
    if file is None or row is None:
        return None
    same = _same(arrival, file.id)
    return same if row is file else replace(same, version=row.version)


def _row(stored: Stored) -> Any:
    """The row that has the bytes of what is here: the file, or one of its older versions."""
    file: File = File.get_by_id(stored.file_id)
    return file if stored.version is None else versions.get(file, stored.version)


def _namesake(arrival: Arrival) -> File | None:
    """The live plain file of this name in the container; a DICOM object keeps its name for itself."""
    if arrival.container_type is None or arrival.container_id is None or arrival.name is None:
        return None
    file_id = arrivals.live_file(arrival.container_type, arrival.container_id, arrival.name)
    file: File | None = File.get_or_none(File.id == file_id, File.type.is_null() | (File.type != "dicom"))
    return file


def _again(arrival: Arrival, known: Stored) -> Stored:
    """Inside the caller's write block."""
    if arrival.header is not None and index.show_again(
        arrival.project_id, known.file_id, arrival.header, actor=_actor(arrival)
    ):
        return replace(known, message=index.SHOWN_AGAIN)
    return known


def _actor(arrival: Arrival) -> Actor:
    return Actor(type=arrival.origin.type, id=arrival.origin.id, name="", via=arrival.origin.via)


def _same(arrival: Arrival, file_id: int | None) -> Stored:
    return Stored(file_id=file_id or 0, outcome=SAME, size=arrival.size, digest=arrival.digest)
