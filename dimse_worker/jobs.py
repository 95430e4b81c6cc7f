"""What the job runner runs: one function a kind of job, which its namesake in `portal/jobs.py` rings for."""

from dimse_worker import destinations, scu
from portal import (
    alternates,
    dry_runs,
    exports,
    imports,
    peers,
    purging,
    restoring,
    runs,
    runtime,
    sends,
    throwing,
    verifications,
)
from portal.errors import PortalError
from portal.runs import End, Run
from portal.storage import ladder


def run_echo(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, _echo)


def run_storage_test(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, ladder.climb)


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
        runs.perform(job_id, throwing.run)


def run_restore(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, restoring.run)


def run_purge(job_id: int) -> None:
    with runtime.connection():
        runs.perform(job_id, purging.run)


def _echo(run: Run) -> End:
    peer = peers.by_id(run.job.params["peer"])
    try:
        sentence = scu.echo(peer)
    except PortalError as error:
        peers.note(peer.id, ok=False, sentence=error.sentence)
        raise
    peers.note(peer.id, ok=True, sentence=sentence)
    return End(sentence=sentence)


def _export(run: Run) -> End:
    return exports.run(run, destination=destinations.open_for(run.job))


def _send(run: Run) -> End:
    return sends.run(run, destination=destinations.peer_for(run.job))


def _dry_run(run: Run) -> End:
    to_peer = "peer" in run.job.params
    return dry_runs.run(run, destination=None if to_peer else destinations.open_for(run.job))


def _verification(run: Run) -> End:
    return verifications.run(run, destination=destinations.open_for(run.job))


def _import(run: Run) -> End:
    return imports.run(run, destination=destinations.open_for(run.job))


def _import_dry_run(run: Run) -> End:
    return imports.try_out(run, destination=destinations.open_for(run.job))
