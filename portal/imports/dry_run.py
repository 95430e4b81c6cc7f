"""Dry runs of imports: what would become of each object, by the beginning of its bytes; nothing is taken in."""

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
from portal.models import ALTERNATE, CURRENT, HELD, File, arrivals
from portal.tree import files, versions

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

HEADER_READ_SIZES = (256 << 10, 16 << 20)
"""Bytes of an object that are looked at; the second where its header is longer than the first."""
NO_CONTAINER = ("project", 0)
"""A container that is still to be made: nothing lies in it."""
ITEM_STATES = {SAME: "same", CURRENT: "new", ALTERNATE: "alternate", HELD: "conflict"}


class DryRun:
    """Looks at objects; used by several threads at once."""

    def __init__(
        self,
        importer: Importer,
        destination: "Destination",
        project_id: int,
        twins: DuplicateTracker,
        *,
        only_dicom: bool,
    ) -> None:
        self._importer = importer
        self._destination = destination
        self._project = project_id
        self._twins = twins
        self._only_dicom = only_dicom

    def attempt(self, task: Task, check: Check) -> list[Outcome]:
        item = task.item
        try:
            item.state, item.message = self._look(task, check)
        except Missing as error:
            return [item_failures.note_error(item, Missing(f"{NO_LONGER_LISTED} {error.message}"))]
        except PortalError as error:
            return [item_failures.note_error(item, error)]
        return [(item, None)]

    def _look(self, task: Task, check: Check) -> tuple[str, str]:
        parsed, offset = self._header(task.item)
        if parsed is None and self._only_dicom:
            raise NotDicom(NOT_INDEXABLE)
        target = self._importer.target(task, is_dicom=lambda: parsed is not None)
        if parsed is not None:
            return self._judge(task.item, parsed, offset, target, check)
        return self._beside(task.item, target, check)

    def _header(self, item: Item) -> tuple[Header | None, int]:
        for length in HEADER_READ_SIZES:
            content = b"".join(self._destination.read(item.key, 0, min(length, item.size)))
            try:
                return header.read_file(io.BytesIO(content), len(content))
            except NotDicom:
                if len(content) < length or content[file_meta.PREAMBLE_SIZE :][:4] != file_meta.MAGIC:
                    break
        return None, 0

    def _judge(self, item: Item, parsed: Header, offset: int, target: Target, check: Check) -> tuple[str, str]:
        """As the door would; the bytes are read only where something with that UID is here."""
        digest = ""
        if arrivals.current_object(self._project, parsed.sop_uid) is not None:
            digest = self._digest(item, offset, check)
        place = targets.find(self._project, target.containers or ()) or NO_CONTAINER
        within = place if target.is_recorded else None
        verdict = index.judge(self._project, parsed, digest, within)
        if verdict.kind == "content":
            compared = duplicates.compare(self._project, parsed, lambda: self._encoded(item, parsed, offset, check))
            if compared.same is not None and within is None:
                return "same", "The same object is here, encoded otherwise."
            verdict = index.judge(self._project, parsed, digest, within, compared=compared)
        if verdict.state == CURRENT:
            return self._among(item, parsed, offset, target, check)
        if verdict.message == index.IN_TWO_PLACES:
            return "new", verdict.message
        return ITEM_STATES[verdict.state], verdict.message

    def _among(self, item: Item, parsed: Header, offset: int, target: Target, check: Check) -> tuple[str, str]:
        """What it would be to those of the same import that came before it."""
        is_elsewhere = target.is_recorded and self._twins.is_first_at(repr(target.containers), parsed, item.id)
        number = self._twins.before(parsed, item.id)
        other = item_row.get(number) if number is not None else None
        theirs, begins = self._header(other) if other is not None else (None, 0)
        if other is None or theirs is None or theirs.sop_uid != parsed.sop_uid:
            message = self._twins.disagreement(parsed)
            return ("conflict", message) if message else ("new", "")
        if _is_alternate(parsed, theirs):
            return "alternate", f"{other.key} is the same SOP Instance in another transfer syntax."
        self._twins.alike(theirs, self._digest(other, begins, check), other.id)
        same = self._twins.alike(parsed, self._digest(item, offset, check), item.id)
        if same is not None and is_elsewhere:
            return "new", index.IN_TWO_PLACES
        if same is not None:
            return "same", f"{item_row.get(same).key} is the same object."
        if self._is_same(item, parsed, offset, other, begins, check):
            return "same", f"{other.key} is the same object, encoded otherwise."
        return "conflict", f"{other.key} has the same SOP Instance UID, and other content."

    def _beside(self, item: Item, target: Target, check: Check) -> tuple[str, str]:
        """What a file that is not indexed would be to the one that has its name."""
        place = targets.find(self._project, target.containers or ())
        name = files.clean_name(target.name or "")
        number = arrivals.live_file(place[0], place[1], name) if place is not None else None
        if number is None:
            return "new", ""
        here = File.get_by_id(number)
        version = target.document.recorded.version if target.document else None
        digest = item.digest or self._digest(item, 0, check)
        if here.type != "dicom" and versions.find_by_digest(here, digest, version) is not None:
            return "same", ""
        if here.type == "dicom":
            return "new", "It gets another name: a DICOM object has this one."
        return "version", "A file of this name is here: this one would be its next version."

    def _is_same(self, item: Item, parsed: Header, offset: int, other: Item, begins: int, check: Check) -> bool:
        sides = (self._encoded(item, parsed, offset, check), self._encoded(other, parsed, begins, check))
        try:
            return not same_content.differences(*sides, at_most=0)
        except NotDicom:
            return False

    def _encoded(self, item: Item, parsed: Header, offset: int, check: Check) -> EncodedDataset:
        stream = _Forward(self._destination.read(item.key, offset), check)
        return EncodedDataset(cast(BinaryIO, stream), item.size - offset, parsed.transfer_syntax)

    def _digest(self, item: Item, offset: int, check: Check) -> str:
        running = hashlib.sha256()
        for chunk in self._destination.read(item.key, offset):
            check()
            running.update(chunk)
        return running.hexdigest()


class _Forward(io.RawIOBase):
    """Chunks as they come, as a file that is only read forward."""

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


def _is_alternate(one: Header, other: Header) -> bool:
    where = [(header.sop_class, header.study_uid, header.series_uid) for header in (one, other)]
    return where[0] == where[1] and one.transfer_syntax != other.transfer_syntax
