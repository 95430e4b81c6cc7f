"""What peers ask us to keep (PS3.4 J.3): requests are written down, each instance is read back, the outcome reported.

A request is a job, whose items are the instances; it may begin in the listener, and another process may go on with it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.commitments import information, rows
from portal.commitments.information import Reference, Summary
from portal.dicom import sop_classes
from portal.errors import PortalError, Unreachable
from portal.jobs import jobs
from portal.jobs.item_row import Item
from portal.jobs.item_runner import ProgressWriter
from portal.jobs.records import JobResult
from portal.jobs.runs import Run, RunEnd
from portal.models import ALTERNATE, CURRENT, HELD, Association, Commitment, Job, Peer, now, writing
from portal.models.retrieve_queries import OwnedInstance
from portal.query import retrieve
from portal.query.retrieve import Outgoing

REASONS = {
    "failed": 0x0110,
    "missing": 0x0112,
    "misnamed": 0x0119,
    "unsupported": 0x0122,
    "duplicate": 0x0131,
    "busy": 0x0213,
}
"""State of an item that is not kept → its Failure Reason (PS3.3 C.14.1.1)."""
ALL_KEPT, SOME_FAILED = 1, 2
"""Event types (PS3.4 J.3.3.1)."""

Wait = Callable[[], None]
"""Called between two pieces of work; it may raise Stopped to leave the rest to another run."""
Finding = tuple[OwnedInstance, Outgoing]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is reported to the peer of a transaction, as soon as each of its instances was looked at."""

    job: Job
    transaction_uid: str

    @property
    def event_type(self) -> int:
        return SOME_FAILED if self.job.failed else ALL_KEPT

    def encode(self, transfer_syntax_uid: str) -> IO[bytes]:
        """The event information in a temporary file, at its end; written in blocks, so that no list is held whole."""
        return information.encode(
            self.transaction_uid,
            transfer_syntax_uid,
            referenced=self._listed(("kept",)),
            failed=self._listed(tuple(REASONS)),
        )

    def _listed(self, states: tuple[str, ...]) -> Iterator[Reference]:
        for page in rows.pages(self.job, states):
            for item in page:
                yield Reference(item.member or "", item.key, REASONS.get(item.state))


def accept(
    peer: Peer, summary: Summary, *, actor: Actor, project_id: int | None, association_id: int | None
) -> Job | None:
    """Write that a peer has asked; `write_instances` comes next. None where the same request is being answered already.

    `project_id`: that of the called AE title. A Transaction UID that the peer has used for other instances makes all of
    them *duplicate* (0131).
    """
    with writing():
        used = [one for one in rows.known(summary.transaction_uid, peer_id=peer.id, role="scp") if _was_read(one)]
        if any(one.instances == summary.digest and rows.is_active(one) for one in used):
            return None
        job = jobs.create(
            "commitment",
            actor=actor,
            params={
                "peer": peer.id,
                "to": peer.label,
                "called": project_id,
                "is_duplicate": any(one.instances != summary.digest for one in used),
            },
            what=f"{_instances(summary.count)} of {peer.label}",
            total=summary.count,
            association=Association.get_or_none(Association.id == association_id),
        )
        Commitment.create(
            job=job, peer=peer, role="scp", transaction_uid=summary.transaction_uid, instances=summary.digest
        )
        audit.record(actor, "commitment:requested", "job", job.id, instances=summary.count)
    return job


def write_instances(this: Run, file: IO[bytes], transfer_syntax_uid: str) -> None:
    """Write the instances of the request that was accepted: from its end on the request outlives this process."""
    asked = information.references(file, transfer_syntax_uid)
    state = "duplicate" if this.job.params.get("is_duplicate") else "pending"
    rows.write_items(this, ((one, None) for one in asked), state)
    this.write(result={**this.job.result, "planned": True})


def run(this: Run, *, report: Callable[[Report], None], waiting: Wait = lambda: None) -> RunEnd:
    """Look at each instance that was not looked at yet, then report, unless that was acknowledged before.

    `report` sends it; it raises Outage where the peer does not acknowledge it, so that it is sent again.
    """
    job = this.job
    if not JobResult.load(job.result).is_planned:
        return RunEnd(
            state="failed", message="The request was interrupted before the peer was told that it is accepted."
        )
    _look_at_instances(this, waiting)
    transaction = rows.of_job(job)
    if transaction.answered is None:
        report(Report(job=job, transaction_uid=transaction.transaction_uid))
        _record_report(this)
    label, total = job.params["to"], _instances(job.total)
    if not job.failed:
        return RunEnd(message=f"{total} read back and kept; {label} has the report.")
    # The peer has its answer, whatever it is: there is nothing to retry.
    return RunEnd(message=f"{job.done:,} of {total} read back and kept, {job.failed:,} not; {label} has the report.")


def _was_read(transaction: Commitment) -> bool:
    return JobResult.load(transaction.job.result).is_planned


def _instances(number: int) -> str:
    return "1 instance" if number == 1 else f"{number:,} instances"


def _record_report(this: Run) -> None:
    job = this.job
    peer = Actor(type="peer", id=job.origin_id, name=job.started_by, via=job.origin_via)
    with writing():
        Commitment.update(answered=now()).where(Commitment.job == job.id).execute()
        audit.record(peer, "commitment:reported", "job", job.id, kept=job.done, failed=job.failed)
        this.write_within()


def _look_at_instances(this: Run, waiting: Wait) -> None:
    job = this.job
    peer = Actor(type="peer", id=str(job.params["peer"]))
    scope = rights.scope(peer, job.params.get("called"))
    writer = ProgressWriter(this, done_states=("kept",), failed_states=tuple(REASONS))
    try:
        for page in rows.pages(job, ("pending",)):
            found: dict[str, list[Finding]] = defaultdict(list)
            for owned, outgoing in retrieve.of_uids([item.key for item in page]):
                found[outgoing.sop_instance_uid].append((owned, outgoing))
            for item in page:
                this.check()
                waiting()
                item.state, item.message = _outcome(item, found[item.key], scope, ("peer", peer.id), waiting)
                writer.add(item)
    finally:
        writer.flush()


def _outcome(item: Item, found: list[Finding], scope: Scope, peer: tuple[str, str], waiting: Wait) -> tuple[str, str]:
    """The state of one instance, and why it is not kept.

    The peer may rely on what it has sent itself, and on what it may read; whatever else is here does not exist for it.
    """
    if not sop_classes.is_storage(item.member or ""):
        return "unsupported", "Objects of this SOP Class are not stored here."
    own = [one for one in found if one[0].origin == peer]
    if any(owned.state == HELD for owned, _ in own):
        return "failed", "Its content is in conflict with that of another object until an admin decides."
    others = [one for one in found if one[0].origin != peer and scope.reads(one[0].project_id)]
    shown = [one for state in (CURRENT, ALTERNATE) for one in (*own, *others) if one[0].state == state]
    if not shown:
        return "missing", "It is not here, or not for this peer."
    named = [outgoing for _, outgoing in shown if outgoing.sop_class_uid == item.member]
    if not named:
        return "misnamed", f"It is of the SOP Class {sop_classes.name(shown[0][1].sop_class_uid)}."
    try:
        for _piece in named[0].pieces():
            waiting()
    except Unreachable as error:
        return "busy", error.message
    except PortalError as error:
        return "failed", error.message
    return "kept", ""
