"""Dry runs of imports: the outcome that each object would have, mostly from its header; nothing is imported."""

import hashlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from portal.dicom import file_meta, header, same_content
from portal.dicom.header import Header
from portal.dicom.same_content import EncodedDataset
from portal.errors import Missing, NotDicom, PortalError
from portal.imports import targets
from portal.imports.duplicates import DuplicateTracker
from portal.imports.importer import NO_LONGER_LISTED, NOT_INDEXABLE, Importer, Target, Task
from portal.ingest import duplicates, index
from portal.ingest.index import SAME
from portal.jobs import item_failures, item_row
from portal.jobs.item_failures import Outcome
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check
from portal.models import ALTERNATE, CURRENT, DICOM, HELD, File, arrivals
from portal.tree import files, versions

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

HEADER_READ_SIZES = (256 << 10, 16 << 20)
"""Bytes of an object that are read; the second size if its header is longer than the first."""
NO_CONTAINER = ("project", 0)
"""A container that does not exist yet, so nothing is in it."""
ITEM_STATES = {SAME: "same", CURRENT: "new", ALTERNATE: "alternate", HELD: "conflict"}


class DryRun:
    """Looks at the objects of an import; used by several threads at once."""

    def __init__(
        self,
        importer: Importer,
        destination: "Destination",
        project_id: int,
        tracker: DuplicateTracker,
        *,
        only_dicom: bool,
    ) -> None:
        self._importer = importer
        self._destination = destination
        self._project = project_id
        self._tracker = tracker
        self._only_dicom = only_dicom

    def attempt(self, task: Task, check: Check) -> list[Outcome]:
        """Look at one object; its item records the outcome that an import would have."""
        item = task.item
        try:
            parsed, offset = self._header(item)
            if parsed is None and self._only_dicom:
                raise NotDicom(NOT_INDEXABLE)
            target = self._importer.target(task, is_dicom=lambda: parsed is not None)
            if parsed is not None:
                item.state, item.message = self._compare_with_site(item, parsed, offset, target, check)
                return [(item, None)]

            # A file that is not indexed would become a version of the file with its name.
            container = targets.find(self._project, target.containers or ())
            name = files.clean_name(target.name or "")
            number = arrivals.live_file(*container, name) if container is not None else None
            here = None if number is None else File.get_by_id(number)
            version = target.document.recorded.version if target.document else None
            if here is None:
                item.state, item.message = "new", ""
            elif here.mimetype == DICOM:
                item.state, item.message = "new", "It gets another name: a DICOM object already has this one."
            elif versions.find_by_digest(here, item.digest or self._digest(item, 0, check), version) is not None:
                item.state, item.message = "same", ""
            else:
                item.state, item.message = "version", "A file with this name is here: this becomes its next version."
        except Missing as error:
            return [item_failures.note_error(item, Missing(f"{NO_LONGER_LISTED} {error.message}"))]
        except PortalError as error:
            return [item_failures.note_error(item, error)]
        return [(item, None)]

    def _header(self, item: Item) -> tuple[Header | None, int]:
        for length in HEADER_READ_SIZES:
            content = b"".join(self._destination.read(item.key, 0, min(length, item.size)))
            try:
                return header.read_file(io.BytesIO(content), len(content))
            except NotDicom:
                if len(content) < length or content[file_meta.PREAMBLE_SIZE :][:4] != file_meta.MAGIC:
                    break
        return None, 0

    def _compare_with_site(
        self, item: Item, parsed: Header, offset: int, target: Target, check: Check
    ) -> tuple[str, str]:
        """State and message as the ingest would decide; all bytes are read only if the UID is already here."""
        digest = ""
        if arrivals.current_object(self._project, parsed.sop_uid) is not None:
            digest = self._digest(item, offset, check)
        container = targets.find(self._project, target.containers or ()) or NO_CONTAINER
        within = container if target.is_recorded else None
        verdict = index.judge(self._project, parsed, digest, within)
        if verdict.kind == "content":
            compared = duplicates.compare(self._project, parsed, lambda: self._encoded(item, parsed, offset, check))
            if compared.same is not None and within is None:
                return "same", "The same object is here in another encoding."
            verdict = index.judge(self._project, parsed, digest, within, compared=compared)
        if verdict.state == CURRENT:
            return self._compare_with_import(item, parsed, offset, target, check)
        if verdict.message == index.IN_TWO_PLACES:
            return "new", verdict.message
        return ITEM_STATES[verdict.state], verdict.message

    def _compare_with_import(
        self, item: Item, parsed: Header, offset: int, target: Target, check: Check
    ) -> tuple[str, str]:
        """State and message of an object whose UID is not here, by the earlier objects of the same import."""
        is_elsewhere = target.is_recorded and self._tracker.is_first_at(repr(target.containers), parsed, item.id)
        number = self._tracker.before(parsed, item.id)
        other = item_row.get(number) if number is not None else None
        theirs, their_offset = self._header(other) if other is not None else (None, 0)
        if other is None or theirs is None or theirs.sop_uid != parsed.sop_uid:
            message = self._tracker.disagreement(parsed)
            return ("conflict", message) if message else ("new", "")
        places = [(header.sop_class, header.study_uid, header.series_uid) for header in (parsed, theirs)]
        if places[0] == places[1] and parsed.transfer_syntax != theirs.transfer_syntax:
            return "alternate", f"{other.key} is the same SOP Instance in another transfer syntax."
        self._tracker.alike(theirs, self._digest(other, their_offset, check), other.id)
        same = self._tracker.alike(parsed, self._digest(item, offset, check), item.id)
        if same is not None and is_elsewhere:
            return "new", index.IN_TWO_PLACES
        if same is not None:
            return "same", f"{item_row.get(same).key} is the same object."
        sides = (self._encoded(item, parsed, offset, check), self._encoded(other, parsed, their_offset, check))
        try:
            is_same = not same_content.differences(*sides, at_most=0)
        except NotDicom:
            is_same = False
        if is_same:
            return "same", f"{other.key} is the same object in another encoding."
        return "conflict", f"{other.key} has the same SOP Instance UID but different content."

    def _encoded(self, item: Item, parsed: Header, offset: int, check: Check) -> EncodedDataset:
        stream = _ChunkReader(self._destination.read(item.key, offset), check)
        return EncodedDataset(cast(BinaryIO, stream), item.size - offset, parsed.transfer_syntax)

    def _digest(self, item: Item, offset: int, check: Check) -> str:
        running = hashlib.sha256()
        for chunk in self._destination.read(item.key, offset):
            check()
            running.update(chunk)
        return running.hexdigest()


class _ChunkReader(io.RawIOBase):
    """Chunks from a storage, as a file that is only read forward."""

    def __init__(self, chunks: Iterator[bytes], check: Check) -> None:
        super().__init__()
        self._chunks, self._check, self._rest = chunks, check, b""

    def read(self, size: int | None = -1) -> bytes:
        while not self._rest:
            self._check()
            self._rest = next(self._chunks, b"")
            if not self._rest:
                return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
