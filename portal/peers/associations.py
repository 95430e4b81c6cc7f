"""Associations: one row each, written when it is accepted and refreshed while it runs, so that a kill keeps it."""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

from peewee import chunked

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.models import Association, Job, Peer, Study, now, skip_if_disk_full, writing
from portal.peers import association_rows

Role = Literal["acceptor", "requestor"]
Outcome = Literal["released", "aborted", "rejected", "failed"]
Counts = dict[str, dict[str, int]]

REFRESH_SECONDS = 5
STUDIES_AT_ONCE = 100
LOST_AFTER = timedelta(seconds=60)
"""After this long without a refresh, a row of a process on another host, which we cannot look up, is lost."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """What a peer has got of one study, and how; `destination_id` is the peer to which a C-MOVE has sent it."""

    study_id: int
    operation: Literal["move", "get"]
    destination_id: int | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What an association has done so far: operation → {done, failed, …}, and bytes of data sets."""

    association_id: int
    counts: Counts
    size: int
    retrieved: Mapping[Retrieved, int] = field(default_factory=dict)
    """The number of instances."""

    @property
    def failures(self) -> int:
        return sum(counted.get("failed", 0) for counted in self.counts.values())


@dataclass(frozen=True, kw_only=True)
class Opening:
    """An association that has begun."""

    peer_id: int | None
    role: Role
    calling: str
    called: str
    address: str
    contexts: Sequence[dict[str, Any]]
    """The result of each proposed one; none if the peer did not accept our request."""
    tls_version: str = ""
    """Such as TLSv1.3; empty in clear text."""
    at: datetime = field(default_factory=now)

    @property
    def contact(self) -> Any:
        """The column of the peer in which it counts as a sign of life; None if it is none."""
        if self.role == "acceptor":
            return Peer.last_seen
        return Peer.last_answered if self.contexts else None


@dataclass(frozen=True, kw_only=True)
class Closing:
    """The end of an association."""

    progress: Progress
    outcome: Outcome
    message: str = ""
    at: datetime = field(default_factory=now)


def process_identity() -> str:
    """This process: host, process id and start time, so that another process with the same id differs."""
    return _identity_of(os.getpid())


def open(**fields: Any) -> int:
    """Write the row of an association that this process has accepted or requested; returns its id.

    `fields`: those of `Opening`. On a full disk the id is 0, which no row has, and the association goes on without one.
    """
    return open_all([Opening(**fields)])[0]


def open_all(openings: Sequence[Opening]) -> list[int]:
    """As `open`, for several associations in one transaction; returns their ids in the same order."""
    row_ids = []
    with skip_if_disk_full(f"{len(openings)} associations"):
        with writing():
            created = [_create(opening) for opening in openings]
            for contact in (Peer.last_seen, Peer.last_answered):
                met = {one.peer_id for one in openings if one.peer_id is not None and one.contact is contact}
                if met:
                    Peer.update({contact: now()}).where(Peer.id.in_(met)).execute()
        row_ids = created  # only after the commit: ids that were rolled back are used again
    return row_ids or [0] * len(openings)


def refresh(running: Iterable[Progress]) -> None:
    """Write the progress of running associations in one transaction; called every REFRESH_SECONDS."""
    with skip_if_disk_full("the progress of associations"), writing():
        for progress in running:
            counted = {"counts": progress.counts, "failures": progress.failures, "bytes": progress.size}
            Association.update(**counted, seen=now()).where(Association.id == progress.association_id).execute()


def close(progress: Progress, *, outcome: Outcome, message: str = "") -> None:
    """Write how an association ended, and its last counts, in the audit log too."""
    close_all([Closing(progress=progress, outcome=outcome, message=message)])


def close_all(closings: Sequence[Closing]) -> None:
    """As `close`, for several associations in one transaction."""
    for closing in closings:
        _audit_studies(closing.progress)
    with skip_if_disk_full(f"the end of {len(closings)} associations"), writing():
        for closing in closings:
            progress = closing.progress
            counts = Association.counts.db_value(progress.counts)
            association_rows.end.run(
                progress.association_id,
                counts,
                progress.failures,
                progress.size,
                Association.ended.db_value(closing.at),
                closing.outcome,
                closing.message,
            )
            _audit_end(progress.association_id)


def mark_lost() -> int:
    """End the rows of processes that have ended, and the moves and gets that they served; returns how many rows."""
    # The outcome has an index: this is asked each second, and there may be a million that have ended.
    running = Association.select().where(Association.outcome == "open")
    lost = [row for row in running if not _is_alive(row)]
    if not lost:
        return 0
    with writing():
        ids = [row.id for row in lost]
        message = "The process that served it ended unexpectedly."
        for row in lost:
            Association.update(outcome="lost", ended=row.seen, message=message).where(
                Association.id == row.id, Association.ended.is_null()
            ).execute()
            _audit_end(row.id)
            _audit_studies_of_lost(row)
        Job.update(state="failed", ended=now(), lease=None, message="The listener ended unexpectedly.").where(
            Job.association.in_(ids), Job.runner == "listener", Job.state == "running"
        ).execute()
    return len(lost)


def list_recent(limit: int = 100, before: int | None = None) -> Sequence[Association]:
    """Associations, newest first; `before` is the id of the last one of the page before."""
    rows = Association.select(Association, Peer).left_outer_join(Peer).order_by(Association.id.desc()).limit(limit)
    return list(rows if before is None else rows.where(Association.id < before))


def view(row: Association) -> dict[str, Any]:
    """The association as pages and `--json` show it; *lost* as soon as its process has ended."""
    lost = row.ended is None and not _is_alive(row)
    names = ("id", "role", "calling", "called", "address", "tls", "tls_version", "started", "seen", "contexts")
    return {name: getattr(row, name) for name in (*names, "counts", "bytes")} | {
        "peer": row.peer.label if row.peer else None,
        "outcome": "lost" if lost else row.outcome,
        "ended": row.seen if lost else row.ended,
        "message": row.message,
    }


@cache
def _identity_of(pid: int) -> str:
    return f"{socket.gethostname()} {pid} {_started(pid)}"


def _create(opening: Opening) -> int:
    contexts, begun = Association.contexts.db_value(list(opening.contexts)), Association.started.db_value(opening.at)
    names = (opening.role, opening.calling, opening.called, opening.address, process_identity())
    tls = (int(bool(opening.tls_version)), opening.tls_version)
    return association_rows.add.insert(opening.peer_id, *names, contexts, begun, *tls)


def _audit_end(association_id: int) -> None:
    """One audit entry for an association of a registered peer. A caller that may only echo is in the list alone, so
    that strangers cannot fill the log."""
    row = association_rows.ended.first(association_id)
    if row is None or row[0] is None:
        return
    peer_id, role, calling, called, address, outcome, message, size, counts = row
    done = {name: {word: n for word, n in counted.items() if n} for name, counted in json.loads(counts).items()}
    detail = {"calling": calling, "called": called, "counts": done, "bytes": size, "message": message}
    if role == "acceptor":
        actor = _peer_actor(peer_id, calling, address)
        audit.record(actor, f"association:{outcome}", "association", association_id, **detail)
    else:
        ours = Actor(type="system", name="portal", address=address)
        audit.record(ours, f"association:{outcome}", "peer", peer_id, association=association_id, **detail)


def _audit_studies(progress: Progress) -> None:
    """One audit entry for each study that was retrieved, in short transactions."""
    for part in chunked(sorted(progress.retrieved.items(), key=lambda item: item[0].study_id), STUDIES_AT_ONCE):
        with skip_if_disk_full(f"what association {progress.association_id} retrieved"), writing():
            row = Association.get_or_none(Association.id == progress.association_id)
            if row is None:
                return
            numbers = [retrieved.study_id for retrieved, _count in part]
            sessions = {study.id: study.session_id for study in Study.select().where(Study.id.in_(numbers))}
            for retrieved, count in part:
                detail = {"association": row.id, "operation": retrieved.operation, "instances": count}
                if retrieved.destination_id is not None:
                    detail["destination"] = retrieved.destination_id
                if session_id := sessions.get(retrieved.study_id):
                    detail["session"] = session_id
                audit.record(_actor(row), "study:retrieved", "study", retrieved.study_id, **detail)


def _audit_studies_of_lost(row: Association) -> None:
    """What the peer has got of the studies that it named, as the jobs of its retrievals say: the counts are lost."""
    actor = _actor(row)
    jobs = Job.select().where(Job.association == row.id, Job.runner == "listener", Job.done > 0)
    for job in jobs.limit(STUDIES_AT_ONCE):
        uids, projects = job.params.get("studies", [])[:STUDIES_AT_ONCE], rights.scope(actor).projects
        for study in Study.select().where(Study.study_uid.in_(uids), Study.project.in_(projects)):
            detail = {"association": row.id, "operation": job.kind, "instances": job.done, "job": job.id}
            session = {"session": study.session_id} if study.session_id else {}
            audit.record(actor, "study:retrieved", "study", study.id, **detail, **session)


def _actor(row: Association) -> Actor:
    return _peer_actor(row.peer_id, row.calling, row.address)


def _peer_actor(peer_id: int | None, calling: str, address: str) -> Actor:
    return Actor(type="peer", id=str(peer_id or ""), name=calling, via=f"{calling} {address}", address=address)


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
