"""What the job runner runs: one function a kind of job, which its namesake in `portal/jobs/jobs.py` rings for."""

from dimse_worker import destinations, scu
from portal import runtime
from portal.errors import PortalError
from portal.exports import dry_run, exports, send, verify
from portal.imports import imports
from portal.ingest import alternates
from portal.jobs import runs
from portal.jobs.runs import Run, RunEnd
from portal.maintenance import purge
from portal.peers import peers
from portal.storage import connection_test
from portal.trash import move, restore


def run_echo(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _echo)


def run_storage_test(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, connection_test.run_test)


def run_export(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _export)


def run_send(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _send)


def run_dry_run(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _dry_run)


def run_verification(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _verification)


def run_import(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _import)


def run_import_dry_run(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _import_dry_run)


def run_comparison(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, alternates.run)


def run_throw(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, move.run)


def run_restore(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, restore.run)


def run_purge(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, purge.run)


def _echo(run: Run) -> RunEnd:
    peer = peers.by_id(run.job.params["peer"])
    try:
        message = scu.echo(peer)
    except PortalError as error:
        peers.record_echo(peer.id, ok=False, message=error.message)
        raise
    peers.record_echo(peer.id, ok=True, message=message)
    return RunEnd(message=message)


def _export(run: Run) -> RunEnd:
    return exports.run(run, destination=destinations.open_storage(run.job))


def _send(run: Run) -> RunEnd:
    return send.run(run, destination=destinations.peer_for(run.job))


def _dry_run(run: Run) -> RunEnd:
    to_peer = "peer" in run.job.params
    return dry_run.run(run, destination=None if to_peer else destinations.open_storage(run.job))


def _verification(run: Run) -> RunEnd:
    return verify.run(run, destination=destinations.open_storage(run.job))


def _import(run: Run) -> RunEnd:
    return imports.run(run, destination=destinations.open_storage(run.job))


def _import_dry_run(run: Run) -> RunEnd:
    return imports.run_dry_run(run, destination=destinations.open_storage(run.job))
