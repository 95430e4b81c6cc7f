"""A request for storage commitment of 100,000 instances, in blocks from its first byte to its report."""

import tracemalloc
from contextlib import closing

import pytest

from portal.access.actors import Actor
from portal.commitments import commitments, information
from portal.commitments.commitments import Report
from portal.commitments.information import Reference
from portal.jobs import runs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, register

EXPLICIT = "1.2.840.10008.1.2.1"
MAX_PEAK = 48 << 20
"""Bytes that Python may hold at once; the rows of all instances would be several times that."""


@pytest.mark.prove
def test_100_000_instances_are_read_looked_at_and_reported_in_blocks(dimse_site: Settings) -> None:
    peer, number = register(services=("commit",)), 100_000
    reports = []

    def report(ready: Report) -> None:
        with closing(ready.encode(EXPLICIT)) as data_set:
            reports.append((ready.event_type, information.summarize(data_set, EXPLICIT).count))

    asked = (Reference(SECONDARY_CAPTURE, f"1.2.826.0.1.3680043.9.7.{place}") for place in range(number))
    with closing(information.encode("1.2.3", EXPLICIT, referenced=asked)) as file:
        summary = information.summarize(file, EXPLICIT)
        actor = Actor(type="peer", id=str(peer.id), name="SCANNER")
        job = commitments.accept(peer, summary, actor=actor, project_id=None, association_id=None)
        assert job is not None

        def work(this: Run) -> RunEnd:
            commitments.write_instances(this, file, EXPLICIT)
            return commitments.run(this, report=report)

        tracemalloc.start()
        runs.perform(job.id, work)
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert reports == [(2, number)]
    ended = Job.get_by_id(job.id)
    assert (ended.state, ended.failed, ended.total) == ("done", number, number)
    assert JobItem.select().where(JobItem.state == "missing").count() == number
    assert peak < MAX_PEAK, f"{peak:,} bytes"
