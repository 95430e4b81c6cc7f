"""Containers as the interface shows them: with their parents, what is said of them, and the files directly in them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flask import current_app, g, request, stream_with_context
from pydantic import BaseModel
from werkzeug.wrappers import Response

from portal.access import readings, rights
from portal.listing import ListInParts
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
CONTAINERS_PER_CHUNK, FILES_PER_CHUNK = 50, 2000
"""A list of more is read and sent in parts. One container with more files is a part of its own."""


def listed(found: ListInParts[Any]) -> Response:
    """A list of containers of one kind, each with its files, by one statement for many."""
    if answers.paginated():
        return in_parts(b'{"count":%d,"total":%d,"results":[' % (len(found.ids), found.total), found, tail=b"]}")
    return in_parts(b"[", found, tail=b"]")


def in_parts(head: bytes, found: ListInParts[Any] | None, *, more: Iterable[BaseModel] = (), tail: bytes) -> Response:
    """A list of containers and perhaps of other things behind them, read while it is sent if it is long."""
    chunks = _chunks(found, more)
    first = list(itertools.islice(chunks, 2))
    is_short = len(first) < 2
    whole = itertools.chain((head,), first, chunks, (tail,))
    body: Any = b"".join(whole) if is_short else stream_with_context(whole)
    return current_app.response_class(body, mimetype="application/json")


def viewed(row: Any) -> ContainerShown:
    """One container that somebody asked for. By a user it is a view as that of its page (docs/decisions/0116)."""
    actor = authentication.actor()
    if actor.type == "user" and request.method != "HEAD":
        readings.record_container_view(actor, containers.kind_of(row), row.id)
    return shape(row)


def shape(row: Any) -> ContainerShown:
    """One container with its files."""
    [shown] = shapes([row])
    return shown


def shapes(rows: Sequence[Any]) -> list[ContainerShown]:
    """Containers of one kind, each with its files."""
    return [shown for part in _parts(rows) for shown in _shapes(part)]


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


def _subject_code(label: str, info: Mapping[str, Any]) -> str:
    """What programs call a subject: the code that they gave it, or its label."""
    code = info.get("code")
    return code if isinstance(code, str) and code else label


def _chunks(found: ListInParts[Any] | None, more: Iterable[BaseModel]) -> Iterator[bytes]:
    comma = b""
    for begin in range(0, len(found.ids) if found else 0, CONTAINERS_PER_CHUNK):
        for part in _parts(found.read(begin, CONTAINERS_PER_CHUNK) if found else ()):
            yield comma + b",".join(map(answers.as_json, _shapes(part)))
            comma = b","
    if rest := b",".join(map(answers.as_json, more)):
        yield comma + rest


def _parts(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Containers of one kind, in parts of about `FILES_PER_CHUNK` files."""
    numbers = files.count_by_container(containers.kind_of(rows[0]), [row.id for row in rows]) if rows else {}
    part: list[Any] = []
    total = 0
    for row in rows:
        number = numbers.get(row.id, 0)
        if part and total + number > FILES_PER_CHUNK:
            yield part
            part, total = [], 0
        part.append(row)
        total += number
    if part:
        yield part


def _shapes(part: Sequence[Any]) -> list[ContainerShown]:
    kind = containers.kind_of(part[0])
    found = files.by_container(kind, [row.id for row in part])
    subjects = containers.subject_info(part) if kind == "session" else {}
    return [_shape(row, found[row.id], subjects) for row in part]


def _shape(row: Any, inside: Sequence[Any], subjects: Mapping[int, Mapping[str, Any]]) -> ContainerShown:
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
        return SubjectShown(**fields, code=_subject_code(row.label, row.info), **_said(row.info, SUBJECT_FIELDS))
    fields |= {"uid": row.uid, "timestamp": row.timestamp} | _said(row.info, SESSION_FIELDS)
    if kind == "acquisition":
        return AcquisitionShown(**fields)
    subject, info = row.subject, subjects[row.subject_id]
    fields["subject"] = SubjectSummary(
        id=above["subject"],
        label=subject.label,
        code=_subject_code(subject.label, info),
        project=above["project"],
        **_said(info, SUBJECT_FIELDS),
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


def _said(info: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What programs sent in fields of their own, kept in `info`."""
    return {name: info.get(name) for name in names}
