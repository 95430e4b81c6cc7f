"""Whether storages still work: each that was tried once is tried again every four hours."""

from datetime import datetime, timedelta

from portal.access.actors import Actor
from portal.jobs import jobs
from portal.models import Job, Storage, now, writing
from portal.storage import storages

TEST_INTERVAL = timedelta(hours=4)
_SYSTEM = Actor(type="system", name="Portico", via="portal")


def next_test(storage: Storage) -> datetime | None:
    """When the next test begins by itself; none where there was no first one."""
    tested: datetime | None = storage.tested
    return tested and tested + TEST_INTERVAL


def enqueue_due_tests() -> int:
    """Have the workers test what was last tested too long ago; returns how many. Of two sweeps at once, one does it."""
    if not storages.untested_since(now() - TEST_INTERVAL):
        return 0
    with writing():
        due = storages.untested_since(now() - TEST_INTERVAL)
        made: list[Job] = [
            jobs.create("storage_test", actor=_SYSTEM, params={"storage": row.id}, what=row.label) for row in due
        ]
    for job in made:
        jobs.enqueue(job)
    return len(made)
