"""A subject, a session and an acquisition of a project, as a program has them: created, updated or as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from portal.access import rights
from portal.access.actors import Actor
from portal.annotations import changes
from portal.annotations.changes import Changes
from portal.errors import BadValue, Missing
from portal.models import writing
from portal.tree import containers, labels
from portal.tree.containers import TABLES, Kind, Said

Result = Literal["created", "updated", "ignored"]
LEVELS: tuple[Kind, ...] = ("subject", "session", "acquisition")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One container as a program has it: found by its row number, its UID, or its label."""

    row_id: int | None = None
    label: str | None = None
    uid: str | None = None
    timestamp: datetime | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Upserted:
    kind: Kind
    row: Any
    result: Result


def upsert(project_id: int, wanted: Mapping[Kind, Wanted], *, actor: Actor) -> list[Upserted]:
    """The containers from the subject down, as far as they are wanted; all of them or nothing.

    Raises Missing, NotAllowed, BadValue, Taken.
    """
    for upper, lower in (("subject", "session"), ("session", "acquisition")):
        if lower in wanted and upper not in wanted:
            raise BadValue(f"The body has an {lower}, and no {upper} that it is in.", field=upper)
    done: list[Upserted] = []
    with writing():
        parent: Any = containers.writable("project", project_id, actor)
        for kind in LEVELS:
            if kind in wanted:
                done.append(_one(kind, parent, wanted[kind], actor))
                parent = done[-1].row
    return done


def _one(kind: Kind, parent: Any, wanted: Wanted, actor: Actor) -> Upserted:
    row = _find(kind, parent, wanted, actor)
    if row is None:
        return Upserted(kind=kind, row=_add(kind, parent, wanted, actor), result="created")
    before = row.modified
    # A label is only changed where something else has found the container.
    label = wanted.label if wanted.row_id is not None or wanted.uid else None
    about = Changes(
        label=label,
        uid=wanted.uid if kind != "subject" else None,
        timestamp=wanted.timestamp,
        info=wanted.info,
        tags=wanted.tags,
    )
    changes.change(kind, row.id, about, actor=actor)
    after = containers.get(kind, row.id, rights.scope(actor))
    return Upserted(kind=kind, row=after, result="updated" if after.modified != before else "ignored")


def _find(kind: Kind, parent: Any, wanted: Wanted, actor: Actor) -> Any:
    table: Any = TABLES[kind]
    inside = containers.in_scope(kind, rights.scope(actor)).where(TABLES[containers.kind_of(parent)].id == parent.id)
    if wanted.row_id is not None:
        row = inside.where(table.id == wanted.row_id).get_or_none()
        if row is None:
            raise Missing(f"There is no {kind} with this id in the {containers.kind_of(parent)}.")
        return row
    if wanted.uid and kind != "subject":
        found = inside.where(table.uid == wanted.uid).get_or_none()
        if found is not None:
            return found
    if wanted.label is None:
        return None
    same = inside.where(table.label == labels.clean(wanted.label))
    if wanted.uid and kind != "subject":
        same = same.where(table.uid.is_null())  # another UID is another study or series
    return same.order_by(table.id).first()


def _add(kind: Kind, parent: Any, wanted: Wanted, actor: Actor) -> Any:
    label = wanted.label or wanted.uid
    if label is None:
        raise BadValue(f"The {kind} lacks its label.", field=kind)
    said = Said(info=wanted.info, tags=wanted.tags or ())
    if kind == "subject":
        return containers.add_subject(parent.id, label, said=said, actor=actor)
    add = containers.add_session if kind == "session" else containers.add_acquisition
    return add(parent.id, label, uid=wanted.uid, timestamp=wanted.timestamp, said=said, actor=actor)
