"""/api/projects, /subjects, /sessions and /acquisitions: the containers below a group."""

import itertools
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from werkzeug.wrappers import Response

from portal import timestamps
from portal.errors import BadValue
from portal.listing import PageRequest
from portal.routes.api import answers, authentication, shapes
from portal.routes.api.ancestry import KINDS
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.container_shapes import (
    AcquisitionShown,
    ContainerShown,
    ProjectShown,
    SessionShown,
    SubjectShown,
)
from portal.routes.api.schemas.containers import (
    AcquisitionAdded,
    Added,
    ContainerAdded,
    ContainerPath,
    ParentObject,
    ProjectAdded,
    SessionAdded,
    SubjectAdded,
)
from portal.routes.api.schemas.lists import Listed, ListQuery
from portal.tree import containers, metadata_values, projects, rest_ids
from portal.tree.containers import Kind, Said

bp = Noun("containers", __name__, "Projects, subjects, sessions and acquisitions.")

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
    return shapes.listed(containers.find_all(kind, authentication.scope(), _page(kind, query)))


@bp.each("get", "/{noun}/<container_id>", KINDS, shapes.SHOWN.__getitem__)
def show(kind: Kind, path: ContainerPath) -> ContainerShown:
    """Show one {kind}"""
    return shapes.viewed(containers.get(kind, rest_ids.row_id(path.container_id, kind), authentication.scope()))


def _declare_list_below(kind: Kind, below: Kind) -> None:
    @bp.get(
        f"/{kind}s/<container_id>/{below}s",
        endpoint=f"{below}s_of_{kind}",
        summary=f"List the {below}s of a {kind}",
        responses={200: LISTED[below]},
    )
    def list_below(path: ContainerPath, query: ListQuery) -> Response:
        row_id, page = rest_ids.row_id(path.container_id, kind), _page(below, query)
        return shapes.listed(containers.find_below(kind, row_id, below, authentication.scope(), page))


for _kind, _below in itertools.combinations(KINDS, 2):
    _declare_list_below(_kind, _below)


@bp.post("/projects", responses={200: Added})
def add_project(body: ProjectAdded) -> Added:
    """Add a project to a group"""
    path = f"{body.group}/{body.label}"
    return _added(projects.add(path, body.ae_title, said=said(body), actor=authentication.actor()))


@bp.post("/subjects", responses={200: Added})
def add_subject(body: SubjectAdded) -> Added:
    """Add a subject to a project"""
    label = body.label or body.code
    if label is None:
        raise BadValue("The body lacks the field label.", field="label")
    extra = {} if body.code is None else {"code": body.code}
    project_id = parent_id(body.project, "project")
    return _added(containers.add_subject(project_id, label, said=said(body, extra), actor=authentication.actor()))


@bp.post("/sessions", responses={200: Added})
def add_session(body: SessionAdded) -> Added:
    """Add a session to a subject"""
    row = containers.add_session(
        _subject(body),
        body.label,
        uid=body.uid or None,
        timestamp=moment(body.timestamp),
        said=said(body),
        actor=authentication.actor(),
    )
    return _added(row)


@bp.post("/acquisitions", responses={200: Added})
def add_acquisition(body: AcquisitionAdded) -> Added:
    """Add an acquisition to a session"""
    row = containers.add_acquisition(
        parent_id(body.session, "session"),
        body.label,
        uid=body.uid or None,
        timestamp=moment(body.timestamp),
        said=said(body),
        actor=authentication.actor(),
    )
    return _added(row)


def said(body: ContainerAdded, more: dict[str, Any] | None = None) -> Said:
    """What a body says besides the fields that the tree has: its `info`, with the fields that we do not model."""
    return Said(info={**(body.info or {}), **kept(body), **(more or {})}, tags=body.tags or ())


def kept(body: BaseModel) -> dict[str, Any]:
    """The fields of a body that no column has, without null and without what is not the client's to set."""
    return metadata_values.kept(body.model_extra or {})


def parent_id(given: str | ParentObject, kind: Kind) -> int:
    """The row number of a parent, given by its id or as an object with it. Raises BadValue, Missing."""
    text = given if isinstance(given, str) else given.id
    if text is None:
        raise BadValue(f"The {kind} lacks its _id.", field=kind)
    return rest_ids.row_id(text, kind)


def moment(text: str | None) -> datetime | None:
    return timestamps.parse(text, field="timestamp") if text else None


def _subject(body: SessionAdded) -> int:
    """The subject of a new session: by its id, or in the named project by its label, where it is created if missing."""
    scope, given = authentication.scope(), body.subject
    project_id = None if body.project is None else parent_id(body.project, "project")
    if isinstance(given, ParentObject) and given.id is None and project_id is not None:
        if (label := given.label or given.code) is None:
            raise BadValue("The subject lacks its _id or label.", field="subject")
        extra = kept(given) if given.code is None else {**kept(given), "code": given.code}
        return containers.find_or_add_subject(project_id, label, said=Said(info=extra), actor=authentication.actor())
    subject = containers.get("subject", parent_id(given, "subject"), scope)
    if project_id not in (None, containers.project_of(subject).id):
        raise BadValue("The subject is in another project.", field="project")
    return int(subject.id)


def _page(kind: str, query: ListQuery) -> PageRequest:
    return answers.page(query, kind, *_MORE.get(kind, ("label",)))


def _added(row: Any) -> Added:
    return Added(id=rest_ids.encode(containers.kind_of(row), row.id))
