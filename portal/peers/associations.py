"""Associations: one row each from its accept, refreshed while it runs, so that a kill leaves what was known."""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from portal.models import Association, Job, Peer, now, skip_if_disk_full, writing

Role = Literal["acceptor", "requestor"]
Outcome = Literal["released", "aborted", "rejected", "failed"]
Counts = dict[str, dict[str, int]]

REFRESH_SECONDS = 5
LOST_AFTER = timedelta(seconds=60)
"""After this long without a refresh, a row of a process that we cannot look at is lost: it runs on another host."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What an association has done so far: operation → {done, failed, …}, and bytes of data sets."""

    association_id: int
    counts: Counts
    size: int

    @property
    def failures(self) -> int:
        return sum(counted.get("failed", 0) for counted in self.counts.values())


def process_identity() -> str:
    """This process by name: host, process id and the moment it started, so that a reused id is another process."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def open(
    *, peer_id: int | None, role: Role, calling: str, called: str, address: str, contexts: Sequence[dict[str, Any]]
) -> int:
    """Write the row of an association that this process has accepted or requested; returns its number.

    `contexts`: what was answered to each that was proposed; none of ours where the peer did not take the call.
    Where the disk is full it is 0, which no row has: the association goes on without one.
    """
    number = 0
    with skip_if_disk_full(f"the association with {address}"):
        with writing():
            row = Association.create(
                peer=peer_id,
                role=role,
                calling=calling,
                called=called,
                address=address,
                process=process_identity(),
                contexts=list(contexts),
            )
            if peer_id is not None and (role == "acceptor" or contexts):
                heard = Peer.last_seen if role == "acceptor" else Peer.last_answered
                Peer.update({heard: now()}).where(Peer.id == peer_id).execute()
        number = int(row.id)  # once it is committed: the number of a row that was not is given out again
    return number  # noqa: RET504 (the block above may have been left)


def refresh(running: Iterable[Progress]) -> None:
    """Write how far running associations are, in one transaction; every REFRESH_SECONDS."""
    with skip_if_disk_full("how far associations are"), writing():
        for one in running:
            Association.update(counts=one.counts, failures=one.failures, bytes=one.size, seen=now()).where(
                Association.id == one.association_id
            ).execute()


def close(progress: Progress, *, outcome: Outcome, message: str = "") -> None:
    """Write how an association ended, and its last counts."""
    moment = now()
    with skip_if_disk_full(f"the end of association {progress.association_id}"), writing():
        Association.update(
            counts=progress.counts,
            failures=progress.failures,
            bytes=progress.size,
            seen=moment,
            ended=moment,
            outcome=outcome,
            message=message,
        ).where(Association.id == progress.association_id).execute()


def mark_lost() -> int:
    """End the rows of processes that are gone, and the moves and gets that they answered; returns how many rows."""
    gone = [row for row in _open() if not _is_alive(row)]
    if not gone:
        return 0
    with writing():
        ids = [row.id for row in gone]
        message = "Our process that held it ended in the middle."
        for row in gone:
            Association.update(outcome="lost", ended=row.seen, message=message).where(
                Association.id == row.id, Association.ended.is_null()
            ).execute()
        Job.update(state="failed", ended=now(), lease=None, message="The listener stopped in the middle.").where(
            Job.association.in_(ids), Job.runner == "listener", Job.state == "running"
        ).execute()
    return len(gone)


def list_recent(limit: int = 100, before: int | None = None) -> Sequence[Association]:
    """Associations, newest first; `before` is the number of the last one seen."""
    rows = Association.select(Association, Peer).left_outer_join(Peer).order_by(Association.id.desc()).limit(limit)
    return list(rows if before is None else rows.where(Association.id < before))


def view(row: Association) -> dict[str, Any]:
    """The association as pages and `--json` show it; a process that is gone reads *lost* at once."""
    lost = row.ended is None and not _is_alive(row)
    names = ("id", "role", "calling", "called", "address", "tls", "started", "seen", "contexts", "counts", "bytes")
    return {name: getattr(row, name) for name in names} | {
        "peer": row.peer.label if row.peer else None,
        "outcome": "lost" if lost else row.outcome,
        "ended": row.seen if lost else row.ended,
        "message": row.message,
    }


def _open() -> Any:
    """By the index of the outcome: this is asked each second, and there may be a million that have ended."""
    return Association.select().where(Association.outcome == "open")


def _is_alive(row: Association) -> bool:
    host, _, process = row.process.partition(" ")
    pid, _, started = process.partition(" ")
    if host != socket.gethostname() or not started:
        return bool(now() - row.seen < LOST_AFTER)
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When a process of this host started, in the kernel's clock ticks (proc(5), field 22); empty if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
