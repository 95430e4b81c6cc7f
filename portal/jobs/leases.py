"""Leases: until when a run that holds a job's row counts as alive, by the time since this machine's boot.

The wall clock may be set while a job runs; the time since boot only goes forward, also while the machine sleeps. A
lease of another boot has expired: what ran then is gone.
"""

import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from portal.models import Job

LEASE = timedelta(seconds=15)
"""How long a run may be silent before another may claim its row."""
LISTENER_LEASE = timedelta(minutes=5)
"""The same for a C-MOVE or C-GET that the listener answers: one sub-operation may take that long."""


def columns(span: timedelta = LEASE) -> dict[str, Any]:
    """The columns of a row whose run counts as alive for `span`."""
    return {"boot": boot_id(), "lease": milliseconds_since_boot() + round(span / timedelta(milliseconds=1))}


def is_live(job: Job) -> bool:
    return job.boot == boot_id() and job.lease is not None and job.lease > milliseconds_since_boot()


def live() -> Any:
    """The same as a condition on rows."""
    return (Job.boot == boot_id()) & (Job.lease > milliseconds_since_boot())


def expired() -> Any:
    """The condition of rows whose run is dead, or was stopped for too long."""
    return (Job.boot != boot_id()) | (Job.lease <= milliseconds_since_boot())


def milliseconds_since_boot() -> int:
    """Milliseconds since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


@cache
def boot_id() -> str:
    """Which boot this is; the same in each container of a machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
