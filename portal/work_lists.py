"""The lists of Jobs, Exports and Activity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Case

from portal import acts, associations, exports, imports, jobs, lanes, origins
from portal.jobs import RETRIEVALS
from portal.lists import LongList, contains
from portal.models import Association, AssociationDay, Audit, Job, Peer
from portal.progress import ACTIVE

SEARCHED = (Job.what, Job.sentence, Job.started_by)
SORTS: dict[str, Callable[[], Any]] = {
    "number": lambda: Job.id,
    "what": lambda: Job.what.collate("NOCASE"),
    "state": lambda: Job.state,
}
OBJECT_SORTS = {**SORTS, "objects": lambda: Job.total}
"""Of jobs that copy objects: exports and imports."""
JOB_CELLS = (
    *("id", "label", "what", "state", "sentence", "done", "failed", "total", "started_by", "created", "started"),
    *("ended", "attempts"),
)


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as its page shows it, and who asked for it."""

    view: dict[str, Any]
    who: origins.Named
    waits_for: str
    """What holds it up where only busy workers do."""


def _job_state() -> Any:
    return Case(None, [(Job.state.in_(ACTIVE), "active")], Job.state)


def _job_rows(rows: Sequence[Job]) -> list[JobRow]:
    names = origins.names((row.origin_type, row.origin_id) for row in rows)
    reasons = lanes.reasons(rows)
    return [
        JobRow(view=jobs.view(row), who=names[row.origin_type, row.origin_id], waits_for=reasons.get(row.id, ""))
        for row in rows
    ]


def _with_reasons(views: Callable[[Sequence[Job]], list[dict[str, Any]]], rows: Sequence[Job]) -> list[dict[str, Any]]:
    """Views of exports or imports, each with what it waits for."""
    reasons = lanes.reasons(rows)
    return [{**view, "waits_for": reasons.get(view["id"], "")} for view in views(rows)]


JOB_KINDS = (
    ("", "All but what peers retrieve"),
    *((name, kind.label) for name, kind in jobs.KINDS.items() if kind.run is not None),
    ("retrieval", "Retrievals by peers"),
)
"""What the list of jobs may be narrowed to: the word in the address, and what people read."""


def _kind(name: str) -> Callable[[], Any]:
    if name == "retrieval":
        return lambda: Job.kind.in_(RETRIEVALS)
    if name:
        return lambda: Job.kind == name
    return lambda: Job.kind.in_([one for one in jobs.KINDS if one not in RETRIEVALS])


JOBS = LongList(
    table=Job,
    rows=Job.select,
    views=_job_rows,
    state=_job_state,
    kinds={name: _kind(name) for name, _words in JOB_KINDS},
    searched=(*SEARCHED, Job.kind),
    sorts={
        **SORTS,
        "by": lambda: Job.started_by.collate("NOCASE"),
        "began": lambda: Job.started,
    },
    usual="-number",
    heads=(
        *("Job", "Kind", "What", "State", "What happened", "Done", "Failed", "Of", "Started by", "Asked for", "Began"),
        *("Ended", "Attempts"),
    ),
    cells=lambda row: tuple(row.view[name] for name in JOB_CELLS),
)

IMPORTS = LongList(
    table=Job,
    rows=lambda: Job.select().where(Job.kind == "import"),
    views=lambda rows: _with_reasons(lambda some: [imports.view(row) for row in some], rows),
    state=_job_state,
    searched=SEARCHED,
    sorts=OBJECT_SORTS,
    usual="-number",
    heads=(
        *("Import", "Storage", "Folder", "Project", "By", "State", "What happened", "Objects", "Done", "Failed"),
        *("Bytes", "Started by", "Asked for", "Ended"),
    ),
    cells=lambda row: (
        *(row["id"], row["storage"], row["prefix"], row["project"], row["by"], row["state"], row["sentence"]),
        *(row["items"], row["done"], row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
    ),
)

EXPORTS = LongList(
    table=Job,
    rows=lambda: Job.select().where(Job.kind.in_(exports.KINDS)),
    views=lambda rows: _with_reasons(exports.views, rows),
    state=_job_state,
    searched=SEARCHED,
    sorts=OBJECT_SORTS,
    usual="-number",
    heads=(
        *("Export", "Project", "To", "State", "What happened", "Objects", "Arrived", "Failed", "Bytes"),
        *("Started by", "Asked for", "Ended", "Manifest SHA-256"),
    ),
    cells=lambda row: (
        *(row["id"], row["project"], row["to"], row["state"], row["sentence"], row["items"], row["arrived"]),
        *(row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
        (row["manifest"] or {}).get("sha256"),
    ),
)


def _peers(search: str) -> Any:
    """Peers by a part of their label, or the one of a number (`peer 7`)."""
    kind, number = origins.asked(search) or ("", "")
    found = Peer.id == int(number) if kind == "peer" else contains(Peer.label, search)
    return Peer.select(Peer.id).where(found)


ASSOCIATIONS = LongList(
    table=Association,
    rows=lambda: Association.select(Association, Peer).left_outer_join(Peer),
    counted=Association.select,
    views=lambda rows: [associations.view(row) for row in rows],
    state=lambda: Association.outcome,
    searched=(Association.calling, Association.called, Association.address, Association.sentence),
    also=lambda search: (Association.peer.in_(_peers(search)),),
    sorts={
        "began": lambda: Association.id,
        "who": lambda: Association.calling,
        "outcome": lambda: Association.outcome,
        "data": lambda: Association.bytes,
    },
    usual="-began",
    heads=(
        *("Association", "Peer", "Calling", "Called", "Address", "Direction", "Outcome", "What happened"),
        *("Operations", "Bytes", "Began", "Ended"),
    ),
    cells=lambda row: (
        *(row["id"], row["peer"], row["calling"], row["called"], row["address"]),
        _direction(row["role"]),
        *(row["outcome"], row["sentence"], _operations(row["counts"]), row["bytes"], row["started"], row["ended"]),
    ),
)


ASSOCIATION_DAYS = LongList(
    table=AssociationDay,
    rows=lambda: AssociationDay.select(AssociationDay, Peer).left_outer_join(Peer),
    counted=AssociationDay.select,
    views=list,
    state=lambda: AssociationDay.outcome,
    searched=(AssociationDay.day,),
    also=lambda search: (AssociationDay.peer.in_(_peers(search)),),
    sorts={
        "day": lambda: AssociationDay.day,
        "number": lambda: AssociationDay.number,
        "data": lambda: AssociationDay.bytes,
    },
    usual="-day",
    heads=("Day", "Peer", "Direction", "Outcome", "Associations", "Operations that failed", "Objects", "Bytes"),
    cells=lambda row: (
        *(row.day, row.peer.label if row.peer else "", _direction(row.role), row.outcome, row.number),
        *(row.failures, row.stored, row.bytes),
    ),
)


def _direction(role: str) -> str:
    return "it called us" if role == "acceptor" else "we called it"


def _operations(counts: dict[str, dict[str, int]]) -> list[str]:
    """store 12, find 3 (1 failed)."""
    return [
        f"{name} {counted.get('done') or 0}" + (f" ({counted['failed']} failed)" if counted.get("failed") else "")
        for name, counted in counts.items()
    ]


AUDIT = LongList(
    table=Audit,
    rows=Audit.select,
    views=acts.named,
    state=lambda: Audit.target_type,
    searched=(Audit.action, Audit.target_id, Audit.address, Audit.via, Audit.actor_id),
    also=acts.asked,
    sorts={
        "at": lambda: Audit.id,
        "action": lambda: Audit.action,
        "by": lambda: Audit.actor_type.concat(" ").concat(Audit.actor_id),
    },
    usual="-at",
    heads=("Act", "When", "Who", "Number", "Name", "By way of", "Address", "What", "On", "Which", "Detail"),
    cells=lambda act: (
        *(act.row.id, act.row.at, act.who.type, act.who.id, act.who.name, act.row.via, act.row.address),
        *(act.row.action, act.row.target_type, act.row.target_id, act.row.detail),
    ),
)
