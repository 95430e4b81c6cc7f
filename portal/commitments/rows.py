"""The rows of transactions: a job with its items for each, found by its Transaction UID and its peer."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from portal.commitments.information import REFERENCES_PER_BLOCK, Reference
from portal.jobs import item_row
from portal.jobs.item_row import Item
from portal.jobs.progress import ACTIVE_STATES
from portal.jobs.runs import Run
from portal.models import Commitment, Job, JobItem, writing

Role = Literal["scp", "scu"]
ROWS_OF_PEER = 5
"""Transactions that the page of a peer shows."""


@dataclass(frozen=True, kw_only=True)
class CommitmentRow:
    """A transaction as the page of its peer shows it: `is_ours` where we have asked, moments in UTC."""

    job_id: int
    is_ours: bool
    asked: Any
    answered: Any
    total: int
    kept: int
    refused: int
    state: str
    message: str


def of_job(job: Job) -> Commitment:
    """The transaction of a job of one of the two kinds."""
    row: Commitment = Commitment.get(Commitment.job == job.id)
    return row


def known(transaction_uid: str, *, peer_id: int, role: Role) -> Sequence[Commitment]:
    """The transactions of a peer with this UID, oldest first: more than one where it was used again."""
    mine = Commitment.transaction_uid == transaction_uid, Commitment.peer == peer_id, Commitment.role == role
    return list(Commitment.select(Commitment, Job).join(Job).where(*mine).order_by(Commitment.id))


def is_active(commitment: Commitment) -> bool:
    """Whether its report is still to come."""
    return commitment.job.state in ACTIVE_STATES


def for_peer(peer_id: int) -> list[CommitmentRow]:
    """The newest transactions of a peer, both those that it asked for and ours."""
    rows = Commitment.select(Commitment, Job).join(Job).where(Commitment.peer == peer_id)
    return [
        CommitmentRow(
            job_id=row.job_id,
            is_ours=row.role == "scu",
            asked=row.job.created,
            answered=row.answered,
            total=row.job.total,
            kept=row.job.done,
            refused=row.job.failed,
            state=row.job.state,
            message=row.job.message,
        )
        for row in rows.order_by(Commitment.id.desc()).limit(ROWS_OF_PEER)
    ]


def write_items(this: Run, references: Iterable[tuple[Reference, int | None]], state: str) -> None:
    """Write the instances that are asked for, each with its file where that is known, in blocks of one write each."""
    block: list[tuple[Any, ...]] = []
    total = 0

    def flush() -> None:
        nonlocal total
        this.check()
        total += len(block)
        with writing():
            JobItem.add(block, "member")
            this.write_within(total=total)
        block.clear()

    for one, file_id in references:
        block.append((this.job.id, file_id, one.sop_instance_uid, 0, "", state, "", False, 0, one.sop_class_uid))
        if len(block) == REFERENCES_PER_BLOCK:
            flush()
    if block:
        flush()


def pages(job: Job, states: Collection[str]) -> Iterator[list[Item]]:
    """The items in these states in their order, in blocks: no cursor is open between two of them."""
    after = 0
    while True:
        wanted = (JobItem.job == job) & JobItem.state.in_(list(states)) & (JobItem.id > after)
        page = item_row.select_first(wanted, REFERENCES_PER_BLOCK)
        if not page:
            return
        yield page
        after = page[-1].id
