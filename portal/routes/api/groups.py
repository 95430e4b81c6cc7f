"""/api/groups: groups and their projects."""

from collections.abc import Callable

from werkzeug.wrappers import Response

from portal.annotations import metadata
from portal.routes.api import answers, authentication, shapes
from portal.routes.api.changes import DELETED, MODIFIED
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.changes import (
    Deleted,
    DeleteQuery,
    GroupChanged,
    GroupTagPath,
    Modified,
    TagGiven,
    TagsGiven,
    TagShown,
)
from portal.routes.api.schemas.container_shapes import GroupShown, ProjectShown
from portal.routes.api.schemas.containers import Added, GroupAdded, GroupPath
from portal.routes.api.schemas.lists import GroupListQuery, Listed, ListQuery
from portal.trash import removal
from portal.tree import groups, projects

bp = Noun("groups", __name__, "Groups of projects.")


@bp.get("/groups", responses={200: Listed[GroupShown]})
def list_all(query: GroupListQuery) -> Response:
    """List all groups"""
    actor = authentication.actor()
    page = answers.page(query, "group", "label", after=lambda code: int(groups.get(code, actor=actor).id))
    return answers.listed(groups.list_all(page, actor=actor), shapes.group_shape)


@bp.post("/groups", responses={200: Added})
def add(body: GroupAdded) -> Added:
    """Add a group"""
    return Added(id=groups.add(body.id, body.label, actor=authentication.actor()).code)


@bp.get("/groups/<code>", responses={200: GroupShown})
def show(path: GroupPath) -> GroupShown:
    """Show a group"""
    return shapes.group_shape(groups.get(path.code, actor=authentication.actor()))


@bp.put("/groups/<code>", responses={200: Modified})
def change(path: GroupPath, body: GroupChanged) -> Modified:
    """Change the label and the tags of a group"""
    actor = authentication.actor()
    groups.get(path.code, actor=actor)  # where nothing is to be changed, too
    if body.label is not None:
        groups.edit(path.code, label=body.label, actor=actor)
    if body.tags is not None:
        metadata.change_group_tags(path.code, lambda _: body.tags or [], actor=actor)
    return MODIFIED


@bp.delete("/groups/<code>", responses={200: Deleted})
def delete(path: GroupPath, query: DeleteQuery) -> Deleted:  # noqa: ARG001 (checked)
    """Delete a group without projects"""
    removal.remove_group(path.code, actor=authentication.actor())
    return DELETED


@bp.post("/groups/<code>/tags", responses={200: Modified})
def add_tag(path: GroupPath, body: TagGiven) -> Modified:
    """Add a tag to a group"""
    return _retagged(path, lambda tags: [*tags, body.value])


@bp.patch("/groups/<code>/tags", responses={200: Modified})
def add_tags(path: GroupPath, body: TagsGiven) -> Modified:
    """Add tags to a group"""
    return _retagged(path, lambda tags: [*tags, *body.root])


@bp.delete("/groups/<code>/tags", responses={200: Deleted})
def remove_tags(path: GroupPath, body: TagsGiven) -> Deleted:
    """Remove tags from a group"""
    _retagged(path, lambda tags: [tag for tag in tags if tag not in body.root])
    return DELETED


@bp.get("/groups/<code>/tags/<value>", responses={200: TagShown})
def show_tag(path: GroupTagPath) -> TagShown:
    """Show whether a group has a tag"""
    return TagShown(metadata.find_tag(groups.get(path.code, actor=authentication.actor()).tags, path.value))


@bp.put("/groups/<code>/tags/<value>", responses={200: Modified})
def rename_tag(path: GroupTagPath, body: TagGiven) -> Modified:
    """Rename a tag of a group"""
    show_tag(path)
    return _retagged(path, lambda tags: [body.value if tag == path.value else tag for tag in tags])


@bp.delete("/groups/<code>/tags/<value>", responses={200: Deleted})
def remove_tag(path: GroupTagPath) -> Deleted:
    """Remove a tag from a group"""
    show_tag(path)
    _retagged(path, lambda tags: [tag for tag in tags if tag != path.value])
    return DELETED


@bp.get("/groups/<code>/projects", responses={200: Listed[ProjectShown]})
def list_projects(path: GroupPath, query: ListQuery) -> Response:
    """List the projects of a group"""
    page = answers.page(query, "project", "label")
    return shapes.listed(projects.find_in_group(path.code, page, actor=authentication.actor()))


def _retagged(path: GroupPath, new: Callable[[list[str]], list[str]]) -> Modified:
    metadata.change_group_tags(path.code, new, actor=authentication.actor())
    return MODIFIED
