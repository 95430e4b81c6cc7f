"""The requests of each device, counted in memory by each web process and written once a minute."""

import logging
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

from peewee import EXCLUDED, PeeweeException, chunked

from portal import models
from portal.access import upload_counts
from portal.devices.key_uses import KeyUseCounter
from portal.models import Device, DeviceHour, now, writing

log = logging.getLogger(__name__)

WRITE_INTERVAL = 60.0
"""Seconds between two writes: a killed process loses no more than that."""
HISTORY_KEPT = timedelta(days=30)
MAX_HOURS_WAITING = 50_000
"""Hours of devices that wait while the database cannot be written; further ones are not counted."""
MAX_REQUEST_BYTES = 1 << 40
"""The most bytes that one request counts for, whatever length it declares."""
_ROWS_PER_INSERT = 500
_COUNTED = (DeviceHour.requests, DeviceHour.failures, DeviceHour.bytes)

_Key = tuple[int, datetime]
_Counts = tuple[int, int, int]


class UsageCounter:
    """The counts of one process that are not written yet. `count` never waits for the disk and never fails."""

    def __init__(self) -> None:
        self.keys = KeyUseCounter()
        self._lock = threading.Lock()
        self._waiting: dict[_Key, _Counts] = {}

    def count(self, device_id: int, *, failed: bool, size: int) -> None:
        """Count one answered request; `size` is the bytes that it uploaded."""
        hour = now().replace(minute=0, second=0, microsecond=0)
        self._add([((device_id, hour), (1, int(failed), min(max(size, 0), MAX_REQUEST_BYTES)))])

    def start(self) -> None:
        """Write every minute, in a thread of its own, for as long as the process lives."""
        threading.Thread(target=self.run, name="device usage", daemon=True).start()

    def run(self) -> None:
        """Write every minute, for ever; the audit entries of uploads too."""
        pause = threading.Event()
        while not pause.wait(WRITE_INTERVAL):
            self.flush()
            upload_counts.flush()

    def flush(self) -> None:
        """Write the counts. Those that cannot be written now wait for the next time."""
        self.keys.flush()
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            with models.connection(), writing():
                existing = {row.id for row in Device.select(Device.id)}
                rows = [
                    {"device": device, "hour": hour, "requests": requests, "failures": failures, "bytes": size}
                    for (device, hour), (requests, failures, size) in taken.items()
                    if device in existing
                ]
                for part in chunked(rows, _ROWS_PER_INSERT):
                    DeviceHour.insert_many(part).on_conflict(
                        conflict_target=[DeviceHour.device, DeviceHour.hour],
                        update={column: column + EXCLUDED[column.name] for column in _COUNTED},
                    ).execute()
                DeviceHour.delete().where(DeviceHour.hour < now() - HISTORY_KEPT).execute()
        except PeeweeException as error:
            log.warning("the usage of devices could not be written: %s", error)
            self._add(taken.items())

    def _add(self, counted: Iterable[tuple[_Key, _Counts]]) -> None:
        with self._lock:
            for key, (requests, failures, size) in counted:
                before = self._waiting.get(key, (0, 0, 0))
                if key in self._waiting or len(self._waiting) < MAX_HOURS_WAITING:
                    self._waiting[key] = (before[0] + requests, before[1] + failures, before[2] + size)
