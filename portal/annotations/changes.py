"""A container changed as a whole: its label, UID, time, info and tags, and the subject that a session is in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.access import audit
from portal.access.actors import Actor
from portal.errors import BadValue, Taken
from portal.models import Acquisition, Session, now, writing
from portal.tree import containers, labels, metadata_values, projects, rest_ids


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is to change; None leaves it."""

    label: str | None = None
    uid: str | None = None
    timestamp: datetime | None = None
    ae_title: str | None = None
    """Of a project; empty to remove it."""
    parent: tuple[str, int] | None = None
    """Kind and row number of the container that it shall be in."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Fields to set."""
    tags: Sequence[str] | None = None


def change(kind: str, row_id: int, wanted: Changes, *, actor: Actor) -> None:
    """Change a container, all of it or nothing. Raises Missing, NotAllowed, BadValue and Taken."""
    with writing():
        row: Any = containers.writable(kind, row_id, actor)
        if kind == "project" and not (wanted.label is None and wanted.ae_title is None):
            label = row.label if wanted.label is None else wanted.label
            title = row.ae_title if wanted.ae_title is None else wanted.ae_title
            projects.edit(row.id, label=label, ae_title=title or "", actor=actor)
        values = {**_said(row, wanted), **(_own(kind, row, wanted) if kind != "project" else {})}
        if wanted.parent is not None:
            values |= _moved(kind, row, *wanted.parent, actor)
        changed = {name: value for name, value in values.items() if getattr(row, name) != value}
        if changed:
            table = containers.TABLES[kind]
            table.update({**changed, "modified": now()}).where(table.id == row.id).execute()
            # Labels of subjects and below may be patients' names: the log has the names of the columns alone.
            audit.record(actor, f"{kind}:changed", kind, row.id, changed=sorted(changed))


def _said(row: Any, wanted: Changes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.info:
        values["info"] = metadata_values.info({**row.info, **wanted.info})
    if wanted.tags is not None:
        values["tags"] = metadata_values.tags(wanted.tags)
    return values


def _own(kind: str, row: Any, wanted: Changes) -> dict[str, Any]:
    """Label, UID and time of a container below a project."""
    values: dict[str, Any] = {}
    if wanted.label is not None:
        values["label"] = labels.clean(wanted.label)
        same = containers.find_subject(row.project_id, values["label"]) if kind == "subject" else None
        if same is not None and same.id != row.id:
            message = "There is a subject with this label in the project already."
            raise Taken(message, field="label", existing=rest_ids.encode("subject", same.id))
    if wanted.timestamp is not None and kind != "subject":
        values["timestamp"] = wanted.timestamp
    if wanted.uid is not None and kind != "subject":
        values["uid"] = containers.clean_uid(wanted.uid)
        _refuse_taken_uid(row, values["uid"], row.subject_id if kind == "session" else row.session_id)
    return values


def _moved(kind: str, row: Any, parent_kind: str, parent_id: int, actor: Actor) -> dict[str, Any]:
    """The columns of a container in another parent: a session may move to another subject of its project."""
    if kind == "project":
        present = ("group", row.group_id)
    else:
        present = (containers.kind_of(containers.parent_of(row)), containers.parent_of(row).id)
    if (parent_kind, parent_id) == present:
        return {}
    if (kind, parent_kind) != ("session", "subject"):
        raise BadValue(
            f"A {kind} cannot be moved to another {parent_kind}. Upload its files there, then delete it here.",
            field=parent_kind,
        )
    target = containers.writable("subject", parent_id, actor)
    if containers.project_of(target).id != containers.project_of(row).id:
        raise BadValue("A session cannot be moved to another project. Upload its files there.", field="subject")
    _refuse_taken_uid(row, row.uid, parent_id)
    return {"subject": target}


def _refuse_taken_uid(row: Session | Acquisition, uid: str | None, parent_id: int) -> None:
    table: Any = type(row)
    parent = table.subject if table is Session else table.session
    same = table.get_or_none(parent == parent_id, table.uid == uid, table.id != row.id) if uid else None
    if same is not None:
        kind = containers.kind_of(row)
        message = f"There is another {kind} with this UID in the same place already, or in the trash."
        raise Taken(message, field="uid", existing="" if same.trash else rest_ids.encode(kind, same.id))
