"""Retries of retrievals: the failed instances of a C-MOVE or C-GET, as a send to the same destination.

An instance is sent only if the peer that asked for it could retrieve it then and could retrieve it now
(docs/decisions/0127): its grants, its services and its destinations are read again before each run.
"""

from collections.abc import Iterator
from typing import Any

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadValue, Missing, NotAllowed
from portal.exports import plan, send
from portal.exports.params import ExportParams
from portal.exports.results import PlanResult
from portal.jobs import item_row, jobs
from portal.jobs.item_runner import add_items
from portal.jobs.kinds import RETRIEVAL_KINDS
from portal.jobs.progress import ENDED_STATES
from portal.jobs.records import JobResult
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, Peer, retrieve_queries, writing
from portal.models.compiled import is_one_of
from portal.models.visibility import Selection
from portal.peers import peers
from portal.tree.project_part import ProjectPart

ITEMS_PER_PAGE = 500
WITHDRAWN = "{} can no longer retrieve it: it was deleted or replaced, or is in no project that this peer may read."


def retry(job_id: int, *, actor: Actor) -> Job:
    """Run an ended job again; what failed in a retrieval becomes a send of its own, whose job is returned.

    Repeating it starts no second send: it returns the one that is under way, and retries one that has ended. Raises
    Missing, NotAllowed, and BadValue for a job that has not ended or of which nothing failed.
    """
    job = jobs.get_own(job_id, actor=actor)
    if job.kind not in RETRIEVAL_KINDS:
        return jobs.retry(job_id, actor=actor)
    rights.require_admin(actor)
    with writing():
        retrieval = jobs.get(job_id)
        earlier = Job.select().where(Job.parent == retrieval).order_by(Job.id.desc()).first()
        if earlier is None:
            created = _create(retrieval, actor)
            audit.record(actor, "job:retried", "job", job_id, kind=retrieval.kind, job=created.id)
    if earlier is None:
        jobs.enqueue(created)
        return created
    if earlier.state == "done":
        raise BadValue(f"Job {earlier.id} has sent all that failed in job {job_id}.")
    return earlier if earlier.state not in ENDED_STATES else jobs.retry(earlier.id, actor=actor)


def run(this: Run, *, destination: send.Destination) -> RunEnd:
    """Send what failed, as `send.run`; what the peer that asked for it cannot retrieve any more fails with that reason.

    Raises NotAllowed if that peer may retrieve nothing now, or not to this destination.
    """
    params = ExportParams.load(this.job.params)
    retrieval = jobs.get(params.retrieval_id)
    requestor = _requestor(retrieval)
    _require_destination(retrieval, requestor, peers.by_id(params.peer_id))
    if not JobResult.load(this.job.result).is_planned:
        _write_items(this, retrieval)
    actor = Actor(type="peer", id=str(requestor.id), name=requestor.label)
    _refuse_withdrawn(this, requestor, rights.scope(actor, retrieval.params.get("called_project")))
    return send.run(this, destination=destination)


def _create(retrieval: Job, actor: Actor) -> Job:
    """The row of the send, inside the caller's write block."""
    if retrieval.state not in ENDED_STATES or not retrieval.failed:
        raise BadValue(f"Job {retrieval.id} is {retrieval.state}, and {retrieval.failed} of its instances have failed.")
    if retrieval.items_kept != "all":
        raise BadValue("The list of its instances was deleted because of its age. Let the peer ask again.")
    requestor = _requestor(retrieval)
    number = retrieval.params.get("destination")
    destination = peers.require_sendable((peers.by_id(number) if number else requestor).label)
    _require_destination(retrieval, requestor, destination)
    params = ExportParams(
        peer_id=destination.id,
        to=destination.label,
        part=ProjectPart(project=0, level="project", ids=()),
        retrieval_id=retrieval.id,
    )
    what = f"{retrieval.failed:,} failed of job {retrieval.id}: {retrieval.what}"
    job = jobs.create("send", actor=actor, params=params.dump(), what=what)
    Job.update(parent=retrieval).where(Job.id == job.id).execute()
    return job


def _requestor(retrieval: Job) -> Peer:
    """The peer that asked. Raises NotAllowed unless it may still retrieve."""
    try:
        peer = peers.by_id(int(retrieval.origin_id or 0))
    except Missing as error:
        message = f"{retrieval.started_by}, which asked for these instances, has been removed, so nothing is sent."
        raise NotAllowed(message) from error
    if not peer.enabled or retrieval.kind not in peer.services:
        raise NotAllowed(f"{peer.label} may not {retrieval.kind} any more, so nothing is sent for it. Edit the peer.")
    return peer


def _require_destination(retrieval: Job, requestor: Peer, destination: Peer) -> None:
    asked_for = retrieval.params.get("destination") or requestor.id
    if destination.id != asked_for or not peers.may_move_to(requestor, destination):
        message = f"{requestor.label} may not move to {destination.label} any more. Edit the peer's destinations."
        raise NotAllowed(message)


def _write_items(this: Run, retrieval: Job) -> None:
    """One item for each instance that failed, in their order; started anew after a kill, since nothing is sent yet."""
    plan.delete_items(this)
    count = bytes_in_all = 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal count, bytes_in_all
        failed = (JobItem.job == retrieval) & (JobItem.state == "failed")
        after = 0
        while page := item_row.select_first(failed & (JobItem.id > after), ITEMS_PER_PAGE):
            after = page[-1].id
            found = retrieve_queries.instances_by_uid([item.key for item in page])
            stored = {(one.file_id, one.sop_uid): one for one in found}
            for item in page:
                one = stored.get((item.file_id or 0, item.key))
                size, digest, member = (one.place.size, one.digest, one.member) if one else (0, "", "")
                count, bytes_in_all = count + 1, bytes_in_all + size
                yield this.job.id, item.file_id, item.key, size, digest, "pending", "", False, 0, member

    add_items(this, rows(), "member", progress=lambda number: {"total": number})
    this.write(total=count, result={**this.job.result, **PlanResult(size=bytes_in_all).dump()}, message="")


def _refuse_withdrawn(this: Run, requestor: Peer, scope: Scope) -> None:
    """Fail the pending items that the requestor cannot retrieve now."""
    pending = (JobItem.job == this.job) & (JobItem.state == "pending")
    selection, after, message = Selection(scope.projects), 0, WITHDRAWN.format(requestor.label)
    while page := item_row.select_first(pending & (JobItem.id > after), ITEMS_PER_PAGE):
        this.check()
        after = page[-1].id
        visible = retrieve_queries.visible_files(selection, [item.key for item in page]) if scope.projects else set()
        ids = [item.id for item in page if (item.file_id or 0, item.member or "", item.key) not in visible]
        if ids:
            with writing():
                failed = JobItem.update(state="failed", message=message, permanent=True)
                failed.where(is_one_of(JobItem.id, ids)).execute()
