"""/api/projects, /subjects, /sessions and /acquisitions: the containers below a group."""

import itertools
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Response

from portal import timestamps
from portal.errors import BadValue
from portal.listing import PageRequest
from portal.routes.api import answers, authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import (
    AcquisitionAdded,
    AcquisitionShown,
    Added,
    ContainerPath,
    ContainerShown,
    Parents,
    ProjectAdded,
    ProjectShown,
    SessionAdded,
    SessionShown,
    SubjectAdded,
    SubjectShown,
)
from portal.routes.api.schemas.lists import Listed, ListQuery
from portal.tree import containers, projects, rest_ids
from portal.tree.containers import Kind

bp = Noun("containers", __name__, "Projects, subjects, sessions and acquisitions.")

KINDS: tuple[Kind, ...] = ("project", "subject", "session", "acquisition")
SHOWN: dict[str, type[ContainerShown]] = {
    "project": ProjectShown,
    "subject": SubjectShown,
    "session": SessionShown,
    "acquisition": AcquisitionShown,
}
LISTED: dict[str, Any] = {
    "project": Listed[ProjectShown],
    "subject": Listed[SubjectShown],
    "session": Listed[SessionShown],
    "acquisition": Listed[AcquisitionShown],
}
_MORE = {"session": ("label", "timestamp"), "acquisition": ("label", "timestamp")}


@bp.each("get", "/{noun}", KINDS, LISTED.__getitem__)
def list_all(kind: Kind, query: ListQuery) -> Response:
    """List all {kind}s"""
    return answers.listed(containers.list_all(kind, authentication.scope(), _page(kind, query)), shape)


@bp.each("get", "/{noun}/<container_id>", KINDS, SHOWN.__getitem__)
def show(kind: Kind, path: ContainerPath) -> ContainerShown:
    """Show one {kind}"""
    return shape(containers.get(kind, rest_ids.row_id(path.container_id, kind), authentication.scope()))


def _declare_list_below(kind: Kind, below: Kind) -> None:
    @bp.get(
        f"/{kind}s/<container_id>/{below}s",
        endpoint=f"{below}s_of_{kind}",
        summary=f"List the {below}s of a {kind}",
        responses={200: LISTED[below]},
    )
    def list_below(path: ContainerPath, query: ListQuery) -> Response:
        row_id, page = rest_ids.row_id(path.container_id, kind), _page(below, query)
        return answers.listed(containers.list_below(kind, row_id, below, authentication.scope(), page), shape)


for _kind, _below in itertools.combinations(KINDS, 2):
    _declare_list_below(_kind, _below)


@bp.post("/projects", responses={200: Added})
def add_project(body: ProjectAdded) -> Added:
    """Add a project to a group"""
    return _added(projects.add(f"{body.group}/{body.label}", body.ae_title, actor=authentication.actor()))


@bp.post("/subjects", responses={200: Added})
def add_subject(body: SubjectAdded) -> Added:
    """Add a subject to a project"""
    project_id = rest_ids.row_id(body.project, "project")
    return _added(containers.add_subject(project_id, body.label, actor=authentication.actor()))


@bp.post("/sessions", responses={200: Added})
def add_session(body: SessionAdded) -> Added:
    """Add a session to a subject"""
    subject_id = rest_ids.row_id(body.subject, "subject")
    subject = containers.get("subject", subject_id, authentication.scope())
    if body.project is not None and rest_ids.row_id(body.project, "project") != containers.project_of(subject).id:
        raise BadValue("The subject is in another project.", field="project")
    row = containers.add_session(
        subject_id, body.label, uid=body.uid, timestamp=_moment(body.timestamp), actor=authentication.actor()
    )
    return _added(row)


@bp.post("/acquisitions", responses={200: Added})
def add_acquisition(body: AcquisitionAdded) -> Added:
    """Add an acquisition to a session"""
    row = containers.add_acquisition(
        rest_ids.row_id(body.session, "session"),
        body.label,
        uid=body.uid,
        timestamp=_moment(body.timestamp),
        actor=authentication.actor(),
    )
    return _added(row)


def shape(row: Any) -> ContainerShown:
    """A container with the IDs of its ancestors, in `parents` and also under their kinds."""
    kind, above = containers.kind_of(row), parents(row)
    fields: dict[str, Any] = {
        "id": rest_ids.encode(kind, row.id),
        "label": row.label,
        "created": row.created,
        "modified": row.modified,
        "origin": answers.origin(row),
        "parents": Parents(**above),
    }
    if kind == "project":
        fields["ae_title"] = row.ae_title
    if kind in ("session", "acquisition"):
        fields |= {"uid": row.uid, "timestamp": row.timestamp}
    return SHOWN[kind](**fields, **above)


def parents(row: Any) -> dict[str, str]:
    """The ID of each ancestor of a container, by its kind."""
    above: dict[str, str] = {}
    while containers.kind_of(row) != "project":
        row = containers.parent_of(row)
        above[containers.kind_of(row)] = rest_ids.encode(containers.kind_of(row), row.id)
    return above | {"group": row.group.code}


def _page(kind: str, query: ListQuery) -> PageRequest:
    return answers.page(query, kind, *_MORE.get(kind, ("label",)))


def _added(row: Any) -> Added:
    return Added(id=rest_ids.encode(containers.kind_of(row), row.id))


def _moment(text: str | None) -> datetime | None:
    return timestamps.parse(text, field="timestamp") if text else None
