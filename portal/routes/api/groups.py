"""/api/groups: groups and their projects."""

from typing import Any

from werkzeug.wrappers import Response

from portal.routes.api import answers, authentication, shapes
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.container_shapes import GroupShown, ProjectShown
from portal.routes.api.schemas.containers import Added, GroupAdded, GroupPath
from portal.routes.api.schemas.lists import Listed, ListQuery
from portal.tree import groups, projects

bp = Noun("groups", __name__, "Groups of projects.")


@bp.get("/groups", responses={200: Listed[GroupShown]})
def list_all(query: ListQuery) -> Response:
    """List all groups"""
    page = answers.page(query, "group", "label")
    return answers.listed(groups.list_all(page, actor=authentication.actor()), _shape)


@bp.post("/groups", responses={200: Added})
def add(body: GroupAdded) -> Added:
    """Add a group"""
    return Added(id=groups.add(body.id, body.label, actor=authentication.actor()).code)


@bp.get("/groups/<code>", responses={200: GroupShown})
def show(path: GroupPath) -> GroupShown:
    """Show a group"""
    return _shape(groups.get(path.code, actor=authentication.actor()))


@bp.get("/groups/<code>/projects", responses={200: Listed[ProjectShown]})
def list_projects(path: GroupPath, query: ListQuery) -> Response:
    """List the projects of a group"""
    page = answers.page(query, "project", "label")
    return shapes.listed(projects.list_in_group(path.code, page, actor=authentication.actor()))


def _shape(row: Any) -> GroupShown:
    return GroupShown(
        id=row.code,
        label=row.label,
        tags=row.tags,
        created=row.created,
        modified=row.modified,
        origin=answers.origin(row),
    )
