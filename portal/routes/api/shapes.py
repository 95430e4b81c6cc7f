"""Containers as the interface shows them: with their parents, what is said of them, and the files directly in them."""

from collections.abc import Iterator, Sequence
from typing import Any

from flask import current_app, g, stream_with_context
from werkzeug.wrappers import Response

from portal.access import rights
from portal.listing import RowPage
from portal.routes.api import answers, authentication
from portal.routes.api import files as file_routes
from portal.routes.api.ancestry import parents
from portal.routes.api.schemas.container_shapes import (
    SESSION_FIELDS,
    SUBJECT_FIELDS,
    AcquisitionShown,
    ContainerShown,
    GroupShown,
    NoteShown,
    Permission,
    ProjectShown,
    SessionShown,
    SubjectShown,
    SubjectSummary,
)
from portal.routes.api.schemas.containers import Parents
from portal.tree import containers, files, rest_ids

SHOWN: dict[str, type[ContainerShown]] = {
    "project": ProjectShown,
    "subject": SubjectShown,
    "session": SessionShown,
    "acquisition": AcquisitionShown,
}
CONTAINERS_PER_CHUNK = 50
"""A longer list is sent in parts, since each of its containers may have many files."""


def listed(part: RowPage[Any]) -> Response:
    """A list of containers of one kind, each with its files, by one statement for many."""
    chunks = _chunks(part.rows)
    if answers.paginated():
        head, tail = b'{"count":%d,"total":%d,"results":[' % (len(part.rows), part.total), b"]}"
    else:
        head, tail = b"[", b"]"
    whole = (piece for pieces in ((head,), chunks, (tail,)) for piece in pieces)
    is_short = len(part.rows) <= CONTAINERS_PER_CHUNK
    body: Any = b"".join(whole) if is_short else stream_with_context(whole)
    return current_app.response_class(body, mimetype="application/json")


def shape(row: Any) -> ContainerShown:
    """One container with its files."""
    [shown] = shapes([row])
    return shown


def shapes(rows: Sequence[Any]) -> list[ContainerShown]:
    """Containers of one kind, each with its files."""
    if not rows:
        return []
    found = files.by_container(containers.kind_of(rows[0]), [row.id for row in rows])
    return [_shape(row, found[row.id]) for row in rows]


def group_shape(row: Any) -> GroupShown:
    if "may_edit_groups" not in g:
        g.may_edit_groups = rights.may_edit_groups(authentication.actor())
    return GroupShown(
        id=row.code,
        container_type="group",
        label=row.label,
        tags=row.tags,
        permissions=_permissions("admin" if g.may_edit_groups(row.id) else "ro"),
        created=row.created,
        modified=row.modified,
        origin=answers.origin(row),
    )


def subject_code(row: Any) -> str:
    """What programs call a subject: the code that they gave it, or its label."""
    code = row.info.get("code")
    return code if isinstance(code, str) and code else str(row.label)


def _chunks(rows: Sequence[Any]) -> Iterator[bytes]:
    for begin in range(0, len(rows), CONTAINERS_PER_CHUNK):
        shown = shapes(rows[begin : begin + CONTAINERS_PER_CHUNK])
        yield (b"," if begin else b"") + b",".join(map(answers.as_json, shown))


def _shape(row: Any, inside: Sequence[Any]) -> ContainerShown:
    kind, above = containers.kind_of(row), parents(row)
    fields: dict[str, Any] = {
        "id": rest_ids.encode(kind, row.id),
        "container_type": kind,
        "label": row.label,
        "info": row.info,
        "info_exists": bool(row.info),
        "tags": row.tags,
        "notes": [NoteShown.model_validate(note) for note in row.notes],
        "permissions": _permissions(_access(containers.project_of(row).id)),
        "created": row.created,
        "modified": row.modified,
        "origin": answers.origin(row),
        "parents": Parents(**above),
        "files": [file_routes.shape(file) for file in inside],
        **above,
    }
    if kind == "project":
        return ProjectShown(**fields, ae_title=row.ae_title)
    if kind == "subject":
        return SubjectShown(**fields, code=subject_code(row), **_said(row, SUBJECT_FIELDS))
    fields |= {"uid": row.uid, "timestamp": row.timestamp} | _said(row, SESSION_FIELDS)
    if kind == "acquisition":
        return AcquisitionShown(**fields)
    subject = row.subject
    fields["subject"] = SubjectSummary(
        id=above["subject"],
        label=subject.label,
        code=subject_code(subject),
        project=above["project"],
        **_said(subject, SUBJECT_FIELDS),
    )
    return SessionShown(**fields)


def _permissions(access: str) -> list[Permission]:
    """What the caller may do, as clients look for it before an import; a device has no entry."""
    actor = authentication.actor()
    if actor.type != "user":
        return []
    return [Permission(id=rest_ids.encode("user", int(actor.id)), access=access, role_ids=[access])]


def _access(project_id: int) -> str:
    scope = authentication.scope()
    if project_id in scope.manages:
        return "admin"
    return "rw" if scope.writes(project_id) else "ro"


def _said(row: Any, names: Sequence[str]) -> dict[str, Any]:
    """What programs sent in fields of their own, kept in `info`."""
    return {name: row.info.get(name) for name in names}
