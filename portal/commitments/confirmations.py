"""What we ask peers to keep (PS3.4 J.3): after a send the peer is asked whether it keeps what it took.

The answer comes later: over the same association, or over one that the peer requests; within a day, or never.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import IO, Protocol, cast

from pydicom.uid import generate_uid

from portal.access import audit
from portal.access.actors import Actor, ActorType
from portal.commitments import information, rows
from portal.commitments.information import REFERENCES_PER_BLOCK, Reference
from portal.errors import BadValue, Outage, PortalError
from portal.jobs import item_row, jobs, outages
from portal.jobs.records import JobParams, JobResult
from portal.jobs.runs import Run, RunEnd
from portal.models import Commitment, Instance, Job, JobItem, batched_writes, now, writing
from portal.models.compiled import raw_rows
from portal.peers import peers
from portal.tree.batches import batched

PATIENCE = timedelta(hours=24)
"""How long a peer may take to answer."""
UNCONFIRMED = "unconfirmed"
MEANINGS = {
    0x0110: "it failed to process the request",
    0x0112: "it has no such instance",
    0x0119: "it has the instance with another SOP Class",
    0x0122: "it does not support the SOP Class",
    0x0131: "it says that the Transaction UID is in use",
    0x0213: "it lacks resources at the moment",
}
"""Failure Reason → in words (PS3.3 C.14.1.1)."""


class Question(Protocol):
    """A peer as the worker knows it."""

    @property
    def label(self) -> str: ...

    def ask(
        self, encode: Callable[[str], IO[bytes]], *, accepted: Callable[[], None], check: Callable[[], None]
    ) -> None:
        """Send the request, call `accepted` once the peer has accepted it, and take its report if that comes soon.

        Raises Outage where it cannot be reached, and another PortalError where it refuses.
        """
        ...


def start(this: Run) -> None:
    """Ask the peer of a send, at its end, about all that it took; does nothing for a peer that is not to be asked."""
    send = this.job
    peer = peers.by_id(JobParams.load(send.params).peer_id)
    if not peer.confirm_sends or not send.done:
        return
    by = Actor(type=cast(ActorType, send.origin_type), id=send.origin_id, name=send.started_by, via=send.origin_via)
    with writing():
        this.write_within()  # raises if another run has the send
        earlier = Commitment.select().join(Job).where(Job.parent == send, Commitment.answered.is_null())
        if earlier.where(Job.ended.is_null()).exists():
            return
        job = jobs.create(
            "confirmation", actor=by, params={"peer": peer.id, "to": peer.label}, what=f"{send.what} (send {send.id})"
        )
        Job.update(parent=send).where(Job.id == job.id).execute()
        Commitment.create(job=job, peer=peer, role="scu", transaction_uid=str(generate_uid()))
        audit.record(by, "commitment:asked", "job", job.id, peer=peer.id, send=send.id)
    jobs.enqueue(job)


def of_send(send: Job) -> list[Job]:
    """The jobs that have asked about what a send has sent, newest first."""
    return list(Job.select().where(Job.parent == send, Job.kind == "confirmation").order_by(Job.id.desc()))


def run(this: Run, *, destination: Question) -> RunEnd:
    """Ask, unless that is done, then wait for the answer: until the day is over the run ends with an Outage."""
    job = this.job
    if not JobResult.load(job.result).is_planned:
        rows.write_items(this, _taken(job), "pending")
        this.write(result={**job.result, "planned": True})
    if job.result.get("told"):
        _begin_again(this)
    if not job.total:
        return RunEnd(message="There is nothing to ask for: the objects of the send are no longer here.")
    try:
        if "asked" not in job.result:
            _ask(this, destination)
        if not _is_answered(this):
            raise Outage(f"{destination.label} has accepted the request, but has not reported yet.")
    except Outage as error:
        if not _is_late(job):
            raise
        return _end(this, f"{error.message} Not confirmed within {PATIENCE // timedelta(hours=1)} hours.")
    except PortalError as error:
        if not error.permanent:
            raise
        return _end(this, error.message)
    return _end(this, f"{destination.label} does not name it in its report.")


def take_report(peer_id: int, file: IO[bytes], transfer_syntax_uid: str) -> None:
    """Write what a peer reports, in blocks; a report that comes again changes nothing.

    Raises BadValue for one that cannot be read, and for a Transaction UID that we have not used with this peer.
    """
    summary = information.summarize(file, transfer_syntax_uid)
    found = rows.known(summary.transaction_uid, peer_id=peer_id, role="scu")
    if not found:
        raise BadValue("We have asked for nothing with this Transaction UID.")
    transaction = found[-1]
    if transaction.answered is not None:
        return
    reported = information.references(file, transfer_syntax_uid)
    for block in batched(reported, REFERENCES_PER_BLOCK):
        by_reason: dict[int | None, list[str]] = {}
        for one in block:
            by_reason.setdefault(one.reason, []).append(one.sop_instance_uid)
        with writing():
            for reason, sop_instance_uids in by_reason.items():
                _write_outcome(transaction.job_id, sop_instance_uids, reason)
    with writing():
        Commitment.update(answered=now()).where(Commitment.id == transaction.id).execute()
        # A job that has given up the answer tells it all the same.
        Job.update(state="waiting", ended=None, due=now()).where(
            Job.id == transaction.job_id, Job.state.in_(("waiting", "errors", "failed"))
        ).execute()
        peer = Actor(type="peer", id=str(peer_id))
        audit.record(peer, "commitment:answered", "job", transaction.job_id)
    jobs.enqueue(jobs.get(transaction.job_id))


def _write_outcome(job_id: int, sop_instance_uids: list[str], reason: int | None) -> None:
    asked = (JobItem.job == job_id) & JobItem.key.in_(sop_instance_uids)
    if reason is None:
        # An instance that the report names in both lists is not kept.
        JobItem.update(state="kept", message="").where(asked, JobItem.state.in_(("pending", UNCONFIRMED))).execute()
    else:
        meaning = MEANINGS.get(reason, "it gives a reason outside the standard")
        message = f"Failure Reason {reason:04X}: {meaning}."
        JobItem.update(state="failed", message=message, permanent=True).where(asked).execute()


def _taken(job: Job) -> Iterator[tuple[Reference, int | None]]:
    """The instances that the peer took, page by page."""
    taken = (JobItem.job == job.parent_id) & JobItem.state.in_(("stored", "warned"))
    after = 0
    while page := item_row.select_first(taken & (JobItem.id > after), REFERENCES_PER_BLOCK):
        after = page[-1].id
        files = list({item.file_id for item in page if item.file_id})
        columns = (Instance.file, Instance.member, Instance.sop_class, Instance.sop_uid)
        rows_of_files = raw_rows(Instance.select(*columns).where(Instance.file.in_(files)))
        names = {(row[0], row[1]): row[2:] for row in rows_of_files}
        for item in page:
            name = names.get((item.file_id, item.member or ""))
            if name is not None:
                yield Reference(*name), item.file_id


def _ask(this: Run, destination: Question) -> None:
    job = this.job
    transaction = rows.of_job(job).transaction_uid

    def encode(transfer_syntax_uid: str) -> IO[bytes]:
        listed = (Reference(item.member or "", item.key) for page in rows.pages(job, ("pending",)) for item in page)
        return information.encode(transaction, transfer_syntax_uid, referenced=listed)

    destination.ask(
        encode,
        accepted=lambda: this.write(result={**job.result, "asked": now().isoformat()}),
        check=this.check,
    )


def _begin_again(this: Run) -> None:
    """Ask in a new transaction, where somebody has retried the job: about what was not kept, or not confirmed.

    A report that came after the day needs none.
    """
    job, is_answered = this.job, _is_answered(this)
    if is_answered and not JobItem.select().where(JobItem.job == job, JobItem.state == "pending").exists():
        return
    unknown = (JobItem.job == job) & (JobItem.state == UNCONFIRMED)
    batched_writes.update(JobItem, unknown, state="pending", message="", permanent=False, check=this.check)
    with writing():
        Commitment.update(transaction_uid=str(generate_uid()), answered=None).where(Commitment.job == job.id).execute()
        this.write_within(result={name: job.result[name] for name in job.result if name not in ("told", "asked")})


def _is_answered(this: Run) -> bool:
    return rows.of_job(this.job).answered is not None


def _is_late(job: Job) -> bool:
    """Whether the peer has had its day: since it accepted the request, or since it could first not be reached."""
    if asked := job.result.get("asked"):
        return now() >= datetime.fromisoformat(asked) + PATIENCE
    outage = outages.for_job(job)
    return outage is not None and now() >= outage.until


def _end(this: Run, reason: str) -> RunEnd:
    """How the job ends; what is still open is not confirmed, for this reason."""
    job, is_open = this.job, (JobItem.job == this.job) & (JobItem.state == "pending")
    batched_writes.update(JobItem, is_open, state=UNCONFIRMED, message=reason, permanent=True, check=this.check)
    sums = item_row.sum_by_state(job)
    kept, refused, unknown = (sums.get(state, (0,))[0] for state in ("kept", "failed", UNCONFIRMED))
    this.write(done=kept, failed=refused + unknown, result={**job.result, "told": True})
    label, total = job.params["to"], f"{job.total:,} instance{'' if job.total == 1 else 's'}"
    if kept == job.total:
        return RunEnd(message=f"{label} has confirmed that it keeps {total}.")
    parts = [f"{label} has confirmed {kept:,} of {total}."]
    if refused:
        parts.append(f"{refused:,} not kept there: {_first_message(job, 'failed')}")
    if unknown:
        parts.append(f"{unknown:,} not confirmed: {_first_message(job, UNCONFIRMED)}")
    return RunEnd(state="errors", message=" ".join(parts))


def _first_message(job: Job, state: str) -> str:
    return str(JobItem.select(JobItem.message).where(JobItem.job == job, JobItem.state == state).limit(1).scalar())
