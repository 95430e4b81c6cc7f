"""PUT and DELETE of containers, and their info, tags and notes: by kind, and below /api/containers by any id."""

from collections.abc import Callable
from typing import Any

from portal.annotations import changes, metadata
from portal.annotations.changes import Changes
from portal.annotations.metadata import InfoChange
from portal.errors import BadValue
from portal.routes.api import authentication
from portal.routes.api.ancestry import ANY_KIND, located
from portal.routes.api.containers import kept, moment, parent_id
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.changes import (
    ContainerChanged,
    Deleted,
    DeleteQuery,
    InfoDelta,
    InfoShown,
    Modified,
    NoteAnswer,
    NoteGiven,
    NotePath,
    TagGiven,
    TagPath,
    TagsGiven,
    TagShown,
)
from portal.routes.api.schemas.containers import ContainerPath
from portal.trash import removal
from portal.tree import containers

bp = Noun("changes", __name__, "What is said of containers: changed, and deleted.")

ONE = "/{noun}/<container_id>"


@bp.each("put", ONE, ANY_KIND, lambda _kind: Modified)
def change(kind: str, path: ContainerPath, body: ContainerChanged) -> Modified:
    """Change one {kind}"""
    place = located(kind, path.container_id)
    code = {} if body.code is None else {"code": body.code}
    wanted = Changes(
        label=body.label,
        uid=body.uid,
        timestamp=moment(body.timestamp),
        ae_title=body.ae_title,
        parent=_parent(place[0], body),
        info={**(body.info or {}), **kept(body), **code},
        tags=body.tags,
    )
    changes.change(*place, wanted, actor=authentication.actor())
    return MODIFIED


@bp.each("delete", ONE, ANY_KIND, lambda _kind: Deleted)
def delete(kind: str, path: ContainerPath, query: DeleteQuery) -> Deleted:  # noqa: ARG001 (checked)
    """Move one {kind} to the trash with all that is in it; a project must be empty"""
    removal.remove(*located(kind, path.container_id), actor=authentication.actor())
    return DELETED


@bp.each("get", f"{ONE}/info", ANY_KIND, lambda _kind: InfoShown)
def show_info(kind: str, path: ContainerPath) -> InfoShown:
    """Show the info of one {kind}"""
    return InfoShown(_row(kind, path).info)


@bp.each("patch", f"{ONE}/info", ANY_KIND, lambda _kind: Modified)
def change_info(kind: str, path: ContainerPath, body: InfoDelta) -> Modified:
    """Set, replace or delete fields of the info of one {kind}"""
    place, more = located(kind, path.container_id), body.model_extra or {}
    wanted = InfoChange(replace=body.replace, set={**more, **(body.set or {})}, delete=body.delete or ())
    metadata.change_info(*place, wanted, actor=authentication.actor())
    return MODIFIED


@bp.each("post", f"{ONE}/info", ANY_KIND, lambda _kind: Modified)
def post_info(kind: str, path: ContainerPath, body: InfoDelta) -> Modified:
    """Change the info of one {kind}, as with PATCH"""
    return change_info(kind, path, body)


@bp.each("put", f"{ONE}/info", ANY_KIND, lambda _kind: InfoShown)
def replace_info(kind: str, path: ContainerPath, body: InfoShown) -> InfoShown:
    """Replace the info of one {kind}"""
    place, wanted = located(kind, path.container_id), InfoChange(replace=body.root)
    return InfoShown(metadata.change_info(*place, wanted, actor=authentication.actor()))


@bp.each("post", f"{ONE}/tags", ANY_KIND, lambda _kind: Modified)
def add_tag(kind: str, path: ContainerPath, body: TagGiven) -> Modified:
    """Add a tag to one {kind}"""
    return _retagged(kind, path, lambda tags: [*tags, body.value])


@bp.each("patch", f"{ONE}/tags", ANY_KIND, lambda _kind: Modified)
def add_tags(kind: str, path: ContainerPath, body: TagsGiven) -> Modified:
    """Add tags to one {kind}"""
    return _retagged(kind, path, lambda tags: [*tags, *body.root])


@bp.each("delete", f"{ONE}/tags", ANY_KIND, lambda _kind: Deleted)
def remove_tags(kind: str, path: ContainerPath, body: TagsGiven) -> Deleted:
    """Remove tags from one {kind}"""
    _retagged(kind, path, lambda tags: [tag for tag in tags if tag not in body.root])
    return DELETED


@bp.each("get", f"{ONE}/tags/<value>", ANY_KIND, lambda _kind: TagShown)
def show_tag(kind: str, path: TagPath) -> TagShown:
    """Show whether one {kind} has a tag"""
    return TagShown(metadata.find_tag(_row(kind, path).tags, path.value))


@bp.each("put", f"{ONE}/tags/<value>", ANY_KIND, lambda _kind: Modified)
def rename_tag(kind: str, path: TagPath, body: TagGiven) -> Modified:
    """Rename a tag of one {kind}"""
    metadata.find_tag(_row(kind, path).tags, path.value)
    return _retagged(kind, path, lambda tags: [body.value if tag == path.value else tag for tag in tags])


@bp.each("delete", f"{ONE}/tags/<value>", ANY_KIND, lambda _kind: Deleted)
def remove_tag(kind: str, path: TagPath) -> Deleted:
    """Remove a tag from one {kind}"""
    metadata.find_tag(_row(kind, path).tags, path.value)
    _retagged(kind, path, lambda tags: [tag for tag in tags if tag != path.value])
    return DELETED


@bp.each("post", f"{ONE}/notes", ANY_KIND, lambda _kind: NoteAnswer)
def add_note(kind: str, path: ContainerPath, body: NoteGiven) -> NoteAnswer:
    """Add a note to one {kind}"""
    note = metadata.add_note(*located(kind, path.container_id), body.text, actor=authentication.actor())
    return NoteAnswer.model_validate(note)


@bp.each("get", f"{ONE}/notes/<note_id>", ANY_KIND, lambda _kind: NoteAnswer)
def show_note(kind: str, path: NotePath) -> NoteAnswer:
    """Show a note of one {kind}"""
    return NoteAnswer.model_validate(metadata.find_note(_row(kind, path), path.note_id))


@bp.each("put", f"{ONE}/notes/<note_id>", ANY_KIND, lambda _kind: Modified)
def change_note(kind: str, path: NotePath, body: NoteGiven) -> Modified:
    """Give a note of one {kind} another text"""
    place = located(kind, path.container_id)
    metadata.change_note(*place, path.note_id, body.text, actor=authentication.actor())
    return MODIFIED


@bp.each("delete", f"{ONE}/notes/<note_id>", ANY_KIND, lambda _kind: Deleted)
def delete_note(kind: str, path: NotePath) -> Deleted:
    """Delete a note of one {kind}"""
    metadata.delete_note(*located(kind, path.container_id), path.note_id, actor=authentication.actor())
    return DELETED


MODIFIED, DELETED = Modified(modified=1, jobs_spawned=0), Deleted(deleted=1)


def _row(kind: str, path: ContainerPath) -> Any:
    return containers.get(*located(kind, path.container_id), authentication.scope())


def _retagged(kind: str, path: ContainerPath, new: Callable[[list[str]], list[str]]) -> Modified:
    metadata.change_tags(*located(kind, path.container_id), new, actor=authentication.actor())
    return MODIFIED


def _parent(kind: str, body: ContainerChanged) -> tuple[str, int] | None:
    """The direct parent that a body names, if it names one; those above it come from there."""
    above = {"subject": "project", "session": "subject", "acquisition": "session"}.get(kind)
    given = getattr(body, above) if above else None
    if given is None or above is None:
        return None
    if not isinstance(given, str) and given.id is None:
        raise BadValue(f"The {above} lacks its _id.", field=above)
    return above, parent_id(given, above)  # type: ignore[arg-type]
