"""/api/projects, /subjects, /sessions and /acquisitions: the containers below a group."""

from datetime import datetime
from typing import Any

from flask import Blueprint, jsonify
from werkzeug.wrappers import Response

from portal import timestamps
from portal.errors import BadValue
from portal.routes.api import answers, authentication, bodies, queries
from portal.tree import containers, projects, rest_ids
from portal.tree.containers import Kind

bp = Blueprint("containers", __name__)

KINDS: dict[str, Kind] = {
    "projects": "project",
    "subjects": "subject",
    "sessions": "session",
    "acquisitions": "acquisition",
}
ANY_KIND = "any(projects, subjects, sessions, acquisitions)"
_BELOW = {"project": "subject", "subject": "session", "session": "acquisition"}
_MORE = {"session": ("label", "timestamp"), "acquisition": ("label", "timestamp")}


@bp.get(f"/<{ANY_KIND}:nouns>")
@queries.accepts(*queries.LIST_PARAMETERS)
def list_all(nouns: str) -> Response:
    kind = KINDS[nouns]
    return answers.listed(containers.list_all(kind, authentication.scope(), _page(kind)), shape)


@bp.get(f"/<{ANY_KIND}:nouns>/<container_id>")
def show(nouns: str, container_id: str) -> Response:
    kind = KINDS[nouns]
    return jsonify(shape(containers.get(kind, rest_ids.row_id(container_id, kind), authentication.scope())))


@bp.get("/projects/<container_id>/subjects", defaults={"kind": "project"})
@bp.get("/subjects/<container_id>/sessions", defaults={"kind": "subject"})
@bp.get("/sessions/<container_id>/acquisitions", defaults={"kind": "session"})
@queries.accepts(*queries.LIST_PARAMETERS)
def children(container_id: str, kind: str) -> Response:
    row_id, page = rest_ids.row_id(container_id, kind), _page(_BELOW[kind])
    return answers.listed(containers.children(kind, row_id, authentication.scope(), page), shape)


@bp.post("/projects")
def add_project() -> Response:
    body = bodies.read(group=str, label=str, ae_title=str)
    path = f"{bodies.require(body, 'group')}/{bodies.require(body, 'label')}"
    return _added(projects.add(path, body.get("ae_title"), actor=authentication.actor()))


@bp.post("/subjects")
def add_subject() -> Response:
    body = bodies.read(project=str, label=str)
    project_id = rest_ids.row_id(bodies.require(body, "project"), "project")
    return _added(containers.add_subject(project_id, bodies.require(body, "label"), actor=authentication.actor()))


@bp.post("/sessions")
def add_session() -> Response:
    body = bodies.read(project=str, subject=str, label=str, uid=str, timestamp=str)
    subject_id = rest_ids.row_id(bodies.require(body, "subject"), "subject")

    project = body.get("project")  # optional; if present, it must be the project of the subject
    subject = containers.get("subject", subject_id, authentication.scope())
    if project is not None and rest_ids.row_id(project, "project") != containers.project_of(subject).id:
        raise BadValue("The subject is in another project.", field="project")

    row = containers.add_session(
        subject_id,
        bodies.require(body, "label"),
        uid=body.get("uid"),
        timestamp=_timestamp(body),
        actor=authentication.actor(),
    )
    return _added(row)


@bp.post("/acquisitions")
def add_acquisition() -> Response:
    body = bodies.read(session=str, label=str, uid=str, timestamp=str)
    session_id = rest_ids.row_id(bodies.require(body, "session"), "session")
    row = containers.add_acquisition(
        session_id,
        bodies.require(body, "label"),
        uid=body.get("uid"),
        timestamp=_timestamp(body),
        actor=authentication.actor(),
    )
    return _added(row)


def shape(row: Any) -> dict[str, Any]:
    """A container with the IDs of its ancestors, in `parents` and also under their kinds."""
    kind, above = containers.kind_of(row), parents(row)
    fields: dict[str, Any] = {
        "_id": rest_ids.encode(kind, row.id),
        "label": row.label,
        "created": answers.moment(row.created),
        "modified": answers.moment(row.modified),
        "origin": answers.origin(row),
        "parents": above,
    }
    if kind == "project":
        fields["ae_title"] = row.ae_title
    if kind in ("session", "acquisition"):
        fields |= {"uid": row.uid, "timestamp": answers.moment(row.timestamp)}
    return fields | above


def parents(row: Any) -> dict[str, str]:
    """The ID of each ancestor of a container, by its kind."""
    above: dict[str, str] = {}
    while containers.kind_of(row) != "project":
        row = containers.parent_of(row)
        above[containers.kind_of(row)] = rest_ids.encode(containers.kind_of(row), row.id)
    return above | {"group": row.group.code}


def _page(kind: str) -> Any:
    return answers.page(kind, *_MORE.get(kind, ("label",)))


def _added(row: Any) -> Response:
    return jsonify(_id=rest_ids.encode(containers.kind_of(row), row.id))


def _timestamp(body: dict[str, Any]) -> datetime | None:
    text = body.get("timestamp")
    return timestamps.parse(text, field="timestamp") if text else None
