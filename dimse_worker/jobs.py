"""What the job runner runs: one function for each kind of job, which its row in `portal/jobs/kinds.py` names."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from dimse_worker import commitment_requests, destinations, scu
from portal import runtime
from portal.commitments import confirmations
from portal.errors import PortalError
from portal.exports import dry_run, exports, send, verify
from portal.exports.params import ExportParams
from portal.imports import imports
from portal.ingest import alternates
from portal.jobs import disclosures, runs
from portal.jobs.records import JobParams
from portal.jobs.runs import Run, RunEnd
from portal.maintenance import purge
from portal.models import Job
from portal.peers import peers
from portal.retrievals import retries
from portal.storage import connection_test
from portal.storage_drivers.destination import Destination
from portal.trash import move, restore
from portal.verification import verification

Opened = TypeVar("Opened", contravariant=True)


class RunWithDestination(Protocol[Opened]):
    """The runner of a kind of job that reads from a destination or writes to it."""

    def __call__(self, run: Run, /, *, destination: Opened) -> RunEnd: ...


def run_echo(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _echo)


def run_storage_test(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, connection_test.run_test)


def run_export(job_id: int) -> None:
    _perform(job_id, _test_and_export, destinations.open_storage)
    _record_disclosure(job_id)


def run_send(job_id: int) -> None:
    _perform(job_id, _send, destinations.peer_for)
    _record_disclosure(job_id)


def run_dry_run(job_id: int) -> None:
    _perform(job_id, dry_run.run, destinations.open_storage_unless_peer)


def run_verification(job_id: int) -> None:
    _perform(job_id, verify.run, destinations.open_storage)


def run_site_verification(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, lambda run: verification.run(run, open_storage=destinations.open_storage))


def run_import(job_id: int) -> None:
    _perform(job_id, imports.run, destinations.open_storage)


def run_import_dry_run(job_id: int) -> None:
    _perform(job_id, imports.run_dry_run, destinations.open_storage)


def run_commitment(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, commitment_requests.report)


def run_confirmation(job_id: int) -> None:
    _perform(job_id, confirmations.run, commitment_requests.question_for)


def run_comparison(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, alternates.run)


def run_trash(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, move.run)


def run_restore(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, restore.run)


def run_purge(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, purge.run)


def _perform(job_id: int, run_job: RunWithDestination[Opened], open_destination: Callable[[Job], Opened]) -> None:
    """Run a job with the destination that its row names, which is opened as a part of the run."""
    with runtime.connection():
        runs.perform(job_id, lambda run: run_job(run, destination=open_destination(run.job)))


def _record_disclosure(job_id: int) -> None:
    with runtime.connection():
        disclosures.record(job_id)


def _test_and_export(run: Run, *, destination: Destination) -> RunEnd:
    connection_test.require_passed(run)
    return exports.run(run, destination=destination)


def _send(run: Run, *, destination: send.Destination) -> RunEnd:
    of_retrieval = ExportParams.load(run.job.params).retrieval_id
    return (retries.run if of_retrieval else send.run)(run, destination=destination)


def _echo(run: Run) -> RunEnd:
    peer = peers.by_id(JobParams.load(run.job.params).peer_id)
    try:
        message = scu.echo(peer)
    except PortalError as error:
        peers.record_echo(peer.id, ok=False, message=error.message)
        raise
    peers.record_echo(peer.id, ok=True, message=message)
    return RunEnd(message=message)
