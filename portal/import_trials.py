"""Dry runs of imports: what would become of each object, by the beginning of its bytes; nothing is taken in."""

import hashlib
import io
from typing import TYPE_CHECKING

from portal import files, header, import_places, index, setbacks, versions, work_items
from portal.errors import Missing, NotDicom, PortalError
from portal.header import Header
from portal.import_twins import Twins
from portal.importing import PLAIN, VANISHED, Importer, Target, Task
from portal.index import SAME
from portal.item_work import Check
from portal.models import ALTERNATE, CURRENT, HELD, File, arrivals
from portal.setbacks import Outcome
from portal.work_items import Item

if TYPE_CHECKING:
    from portal.storage.destination import Destination

HEADS = (256 << 10, 16 << 20)
"""Bytes of an object that are looked at; the second where its header is longer than the first."""
NOWHERE = ("project", 0)
"""A container that is still to be made: nothing lies in it."""
STATES = {SAME: "same", CURRENT: "new", ALTERNATE: "alternate", HELD: "conflict"}


class Trial:
    """Looks at objects; used by several threads at once."""

    def __init__(
        self, importer: Importer, destination: "Destination", project_id: int, twins: Twins, *, only_dicom: bool
    ) -> None:
        self._importer = importer
        self._destination = destination
        self._project = project_id
        self._twins = twins
        self._only_dicom = only_dicom

    def attempt(self, task: Task, check: Check) -> list[Outcome]:
        item = task.item
        try:
            item.state, item.sentence = self._look(task, check)
        except Missing as error:
            return [setbacks.note(item, Missing(f"{VANISHED} {error.sentence}"))]
        except PortalError as error:
            return [setbacks.note(item, error)]
        return [(item, None)]

    def _look(self, task: Task, check: Check) -> tuple[str, str]:
        parsed, offset = self._header(task.item)
        if parsed is None and self._only_dicom:
            raise NotDicom(PLAIN)
        target = self._importer.target(task, is_dicom=lambda: parsed is not None)
        if parsed is not None:
            return self._judge(task.item, parsed, offset, target, check)
        return self._beside(task.item, target, check)

    def _header(self, item: Item) -> tuple[Header | None, int]:
        for length in HEADS:
            content = b"".join(self._destination.read(item.key, 0, min(length, item.size)))
            try:
                return header.read_file(io.BytesIO(content), len(content))
            except NotDicom:
                if len(content) < length or content[header.PREAMBLE :][:4] != header.MAGIC:
                    break
        return None, 0

    def _judge(self, item: Item, parsed: Header, offset: int, target: Target, check: Check) -> tuple[str, str]:
        """As the door would; the bytes are read only where something with that UID is here."""
        digest = ""
        if arrivals.current_object(self._project, parsed.sop_uid) is not None:
            digest = self._digest(item, offset, check)
        place = import_places.find(self._project, target.containers or ()) or NOWHERE
        verdict = index.judge(self._project, parsed, digest, place if target.is_recorded else None)
        if verdict.state == CURRENT:
            return self._among(item, parsed, offset, target, check)
        if verdict.sentence == index.IN_TWO_PLACES:
            return "new", verdict.sentence
        return STATES[verdict.state], verdict.sentence

    def _among(self, item: Item, parsed: Header, offset: int, target: Target, check: Check) -> tuple[str, str]:
        """What it would be to those of the same import that came before it."""
        is_elsewhere = target.is_recorded and self._twins.is_first_at(repr(target.containers), parsed, item.id)
        number = self._twins.before(parsed, item.id)
        other = work_items.get(number) if number is not None else None
        theirs, begins = self._header(other) if other is not None else (None, 0)
        if other is None or theirs is None or theirs.sop_uid != parsed.sop_uid:
            sentence = self._twins.disagreement(parsed)
            return ("conflict", sentence) if sentence else ("new", "")
        if _is_alternate(parsed, theirs):
            return "alternate", f"{other.key} is the same SOP Instance in another transfer syntax."
        self._twins.alike(theirs, self._digest(other, begins, check), other.id)
        same = self._twins.alike(parsed, self._digest(item, offset, check), item.id)
        if same is not None and is_elsewhere:
            return "new", index.IN_TWO_PLACES
        if same is not None:
            return "same", f"{work_items.get(same).key} is the same object."
        return "conflict", f"{other.key} has the same SOP Instance UID, and other content."

    def _beside(self, item: Item, target: Target, check: Check) -> tuple[str, str]:
        """What a file that is not indexed would be to the one that has its name."""
        place = import_places.find(self._project, target.containers or ())
        name = files.clean_name(target.name or "")
        number = arrivals.live_file(place[0], place[1], name) if place is not None else None
        if number is None:
            return "new", ""
        here = File.get_by_id(number)
        version = target.document.recorded.version if target.document else None
        digest = item.digest or self._digest(item, 0, check)
        if here.type != "dicom" and versions.holding(here, digest, version) is not None:
            return "same", ""
        if here.type == "dicom":
            return "new", "It gets another name: a DICOM object has this one."
        return "version", "A file of this name is here: this one would be its next version."

    def _digest(self, item: Item, offset: int, check: Check) -> str:
        running = hashlib.sha256()
        for chunk in self._destination.read(item.key, offset):
            check()
            running.update(chunk)
        return running.hexdigest()


def _is_alternate(one: Header, other: Header) -> bool:
    where = [(header.sop_class, header.study_uid, header.series_uid) for header in (one, other)]
    return where[0] == where[1] and one.transfer_syntax != other.transfer_syntax
