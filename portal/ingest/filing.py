"""Files objects that are simply new: those that wait at the same moment together (docs/decisions/0108).

Simply new is an object of a known series, placed by its header, of whose UID nothing is known: it needs no judgement,
and a recovery would write the same rows from its record. All others go their way alone, through `register`.
"""

import logging
import threading
from typing import cast

from portal import runtime
from portal.access.rights import Scope
from portal.archive import Place
from portal.dicom.header import Header
from portal.ingest import disk_reserve, patients, register
from portal.ingest.patients import Patient
from portal.ingest.placement import Placement
from portal.ingest.received import ReceivedBytes
from portal.ingest.register import Arrival, Stored
from portal.models import new_instances, now, writing_repeatably
from portal.models.base import UtcField
from portal.models.new_instances import KnownSeries

log = logging.getLogger(__name__)

MAX_OBJECTS, MAX_BYTES = 64, 32 << 20
"""Filed at once at most, so that no write block is long and nobody waits long for others."""


class WaitingObject:
    """An object on its way into the archive, of which all bytes are there.

    After `Filing.file`: `stored` is its result; without it, `place` is where its record is, but its rows have to be
    judged; without either nothing of it is kept.
    """

    def __init__(
        self, arrival: Arrival, header: Header, received: ReceivedBytes, *, wanted: Placement, scope: Scope
    ) -> None:
        self.arrival, self.header, self.received = arrival, header, received
        self._wanted, self._scope = wanted, scope
        self.name = f"{header.sop_uid}.dcm"
        self.project_id = 0
        """The project that its series is in, once its record is written."""
        self.place: Place | None = None
        self.stored: Stored | None = None
        self.woken = threading.Lock()
        """Held until the object is filed, or its thread is the one that files those that wait."""
        self.woken.acquire()
        self.is_over = False

    def known_series(self) -> KnownSeries | None:
        """What is known of its series, where it is simply new; None where it has to be judged. Reads only."""
        header = self.header
        known = self._choose(
            new_instances.known_series(
                study_uid=header.study_uid, series_uid=header.series_uid, sop_uid=header.sop_uid, name=self.name
            )
        )
        if known is None or known.is_obstructed or known.series_id is None or known.acquisition_id is None:
            return None
        if not patients.is_same(Patient(known.patient_id, known.issuer), Patient(header.patient_id, header.issuer)):
            return None
        return None if header.issuer and not known.issuer else known  # subject and study are to learn the issuer

    def _choose(self, rows: list[KnownSeries]) -> KnownSeries | None:
        """The row of the project that `placement.project_for` finds, where that shows something of the study."""
        shown = [row for row in rows if row.has_instances]
        wanted = self._wanted.called_project
        if wanted is None:
            shown = [row for row in shown if self._scope.writes(row.project_id)]
            if len(shown) < 2:
                return shown[0] if shown else None
            wanted = self._wanted.store_to
        return next((row for row in shown if row.project_id == wanted), None)


class Filing:
    """The objects of this process that wait. Whoever finds nobody at it files all that wait, in their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[WaitingObject] = []
        self._is_busy = False

    def file(self, one: WaitingObject) -> None:
        """File an object, alone or with others; on return it is durable, or has to go its way alone."""
        with self._lock:
            self._waiting.append(one)
            leads, self._is_busy = not self._is_busy, True
        if not leads:
            one.woken.acquire()
            if one.is_over:
                return
        with self._lock:
            together = self._take()
        try:
            _file_together(together)
        except Exception as error:  # noqa: BLE001 (each goes its way alone now, and one that fails there says why)
            log.warning("%d objects are filed one by one: %s", len(together), type(error).__name__)
        finally:
            # The next in the queue leads from here on.
            with self._lock:
                self._is_busy = bool(self._waiting)
                if self._is_busy:
                    self._waiting[0].woken.release()
            for other in together:
                other.is_over = True
                if other is not one:
                    other.woken.release()

    def _take(self) -> list[WaitingObject]:
        size = count = 0
        for one in self._waiting:
            size += one.received.size
            if count == MAX_OBJECTS or (count and size > MAX_BYTES):
                break
            count += 1
        together, self._waiting = self._waiting[:count], self._waiting[count:]
        return together


def _file_together(waiting: list[WaitingObject]) -> None:
    """Append the records of those that are simply new, sync once, and write their rows in one block."""
    counter = new_instances.change_counter()
    chosen: dict[tuple[int, str], tuple[WaitingObject, KnownSeries]] = {}
    for one in waiting:
        known = one.known_series()
        if known is not None:
            chosen.setdefault((known.project_id, one.header.sop_uid), (one, known))
    if not chosen:
        return
    disk_reserve.check(sum(one.received.size for one, _ in chosen.values()))
    records = [one.received.record(register.footer_for(one.arrival, known.path)) for one, known in chosen.values()]
    for (one, known), place in zip(chosen.values(), runtime.archive().append_all(records), strict=True):
        one.project_id, one.place = known.project_id, place

    stored: list[tuple[WaitingObject, Stored]] = []
    moment = str(UtcField().db_value(now()))
    with writing_repeatably():
        is_unchanged = new_instances.change_counter() == counter
        for one, known in chosen.values():
            still_known = known if is_unchanged else one.known_series()
            if still_known == known:
                stored.append((one, _write_rows(one, known, moment)))
    for one, result in stored:
        one.stored = result


def _write_rows(one: WaitingObject, known: KnownSeries, moment: str) -> Stored:
    arrival, header, digest = one.arrival, one.header, one.arrival.dataset_digest or ""
    place = cast(Place, one.place)
    columns = arrival.digest, digest, arrival.dataset_offset, place.segment, place.offset, place.size
    blob_id = new_instances.add_blob(*columns)
    origin = arrival.origin.type, arrival.origin.id, arrival.origin.via
    file_id = new_instances.add_file(known, one.name, blob_id, header.modality or None, *origin, moment)
    said = header.number, header.content_date, header.content_time, header.rows, header.columns, header.frames
    uids = header.sop_uid, header.sop_class, header.transfer_syntax
    new_instances.add_instance(known, file_id, *uids, digest, *said)
    return Stored(file_id=file_id, outcome="stored", size=arrival.size, digest=arrival.digest)


filing = Filing()
"""That of this process."""
