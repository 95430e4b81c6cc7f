"""Whether storages still work: each that was tested once is tested again every four hours."""

from datetime import datetime, timedelta

from portal.access.actors import Actor
from portal.jobs import jobs
from portal.models import Job, Storage, now, writing
from portal.storage import storages

TEST_INTERVAL = timedelta(hours=4)
_SYSTEM = Actor(type="system", name="Portico", via="portal")


def next_test(storage: Storage) -> datetime | None:
    """When the next automatic test begins; None where there was no first test."""
    tested: datetime | None = storage.tested
    return tested and tested + TEST_INTERVAL


def enqueue_due_tests() -> int:
    """Enqueue a test of each storage whose last one is too old; returns how many. One of two callers does it."""
    if not storages.untested_since(now() - TEST_INTERVAL):
        return 0
    with writing():
        due = storages.untested_since(now() - TEST_INTERVAL)
        tests: list[Job] = [
            jobs.create("storage_test", actor=_SYSTEM, params={"storage": row.id}, what=row.label) for row in due
        ]
    for job in tests:
        jobs.enqueue(job)
    return len(tests)
