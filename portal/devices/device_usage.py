"""How often each device calls: counted in memory by each process of the web server, written down once a minute."""

import logging
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from peewee import EXCLUDED, PeeweeException, chunked

from portal import models
from portal.models import Device, DeviceHour, now, writing

log = logging.getLogger(__name__)

WRITE_INTERVAL = 60.0
"""Seconds between two writes: a process that is killed loses no more than that."""
HISTORY_KEPT = timedelta(days=30)
MAX_HOURS_WAITING = 50_000
"""Hours of devices that wait to be written while the database cannot be; further ones are not counted."""
MAX_REQUEST_BYTES = 1 << 40
"""Bytes that one request can count for, whatever it says of itself."""
_ROWS = 500

_Key = tuple[int, datetime]
_Figures = tuple[int, int, int]


class UsageCounter:
    """What one process has counted and not written yet. `count` never waits for the disk and never fails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[_Key, _Figures] = {}

    def count(self, device_id: int, *, failed: bool, size: int) -> None:
        """One request that was answered; `size`: bytes that it brought in."""
        hour = now().replace(minute=0, second=0, microsecond=0)
        self._add([((device_id, hour), (1, int(failed), min(max(size, 0), MAX_REQUEST_BYTES)))])

    def start(self) -> None:
        """Write every minute, in a thread of its own, for as long as the process lives."""
        threading.Thread(target=self._keep_writing, name="uses", daemon=True).start()

    def flush(self) -> None:
        """Write what waits. What cannot be written now waits for the next time."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            with models.connection():
                _write(taken)
        except PeeweeException as error:
            log.warning("the uses of devices could not be written: %s", error)
            self._add(taken.items())

    def _add(self, counted: Iterable[tuple[_Key, _Figures]]) -> None:
        with self._lock:
            for key, (requests, failures, size) in counted:
                before = self._waiting.get(key, (0, 0, 0))
                if key in self._waiting or len(self._waiting) < MAX_HOURS_WAITING:
                    self._waiting[key] = (before[0] + requests, before[1] + failures, before[2] + size)

    def _keep_writing(self) -> None:
        pause = threading.Event()
        while not pause.wait(WRITE_INTERVAL):
            self.flush()


def _write(counted: dict[_Key, _Figures]) -> None:
    """Add to the rows of devices that are still there, and forget what is older than thirty days."""
    update = {
        field: field + EXCLUDED[field.name] for field in (DeviceHour.requests, DeviceHour.failures, DeviceHour.bytes)
    }
    with writing():
        here = {row.id for row in Device.select(Device.id)}
        rows = [
            {"device": device, "hour": hour, "requests": requests, "failures": failures, "bytes": size}
            for (device, hour), (requests, failures, size) in counted.items()
            if device in here
        ]
        for part in chunked(rows, _ROWS):
            DeviceHour.insert_many(part).on_conflict(
                conflict_target=[DeviceHour.device, DeviceHour.hour], update=update
            ).execute()
        DeviceHour.delete().where(DeviceHour.hour < now() - HISTORY_KEPT).execute()
