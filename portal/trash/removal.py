"""Deleting a container: one below a project goes to the trash with all that is in it, a project must be empty."""

from typing import Any

from peewee import IntegrityError

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP
from portal.errors import Busy, NotAllowed
from portal.models import File, Group, Project, Storage, Subject, Trash, writing
from portal.trash import trash
from portal.tree import containers, groups


def remove(kind: str, row_id: int, *, actor: Actor) -> None:
    """Raises Missing, NotAllowed, and Busy for a project that is not empty or that a storage is visible to."""
    if kind == "project":
        _remove_project(row_id, actor)
    else:
        trash.move_to_trash(kind, row_id, actor=actor)


def remove_group(code: str, *, actor: Actor) -> None:
    """Delete a group without projects, to which no storage is visible. Raises Missing, NotAllowed, Busy."""
    with writing():
        group = groups.get(code, actor=actor)
        rights.require_group_admin(actor, group.id)
        if code == UNKNOWN_GROUP:
            raise NotAllowed(groups.RESERVED)
        if Project.select().where(Project.group == group).exists():
            raise Busy(f"The group {code} has projects. Delete them first.")
        _refuse_named_by_storage(f"group:{code}", f"the group {code}")
        _delete(group, f"The group {code}")
        audit.record(actor, "group:deleted", "group", group.id, code=code)


def _remove_project(row_id: int, actor: Actor) -> None:
    with writing():
        project: Any = containers.get("project", row_id, rights.scope(actor))
        rights.require_manager(actor, project.id)
        if project.group.code == UNKNOWN_GROUP:
            raise NotAllowed(groups.RESERVED)
        path = f"{project.group.code}/{project.label}"
        holds_files = File.select().where(File.parent_type == "project", File.parent_id == project.id).exists()
        holds_subjects = Subject.select().where(Subject.project == project).exists()
        if holds_files or holds_subjects or Trash.select().where(Trash.project == project).exists():
            raise Busy(f"{path} is not empty. Move what is in it to the trash, and purge its trash; then delete it.")
        _refuse_named_by_storage(f"project:{path}", path)
        _delete(project, path)
        audit.record(actor, "project:deleted", "project", project.id, path=path)


def _refuse_named_by_storage(visible: str, name: str) -> None:
    """Raise Busy while a storage is visible to this alone: whatever got its name later would get the storage."""
    row: Storage | None = Storage.get_or_none(Storage.visible == visible)
    if row is not None:
        raise Busy(
            f"The storage {row.label} is visible to {name} (Visible to). Change that setting first; then delete it."
        )


def _delete(row: Group | Project, name: str) -> None:
    try:
        row.delete_instance()
    except IntegrityError as error:
        raise Busy(f"{name} is still named elsewhere: by exports, imports or peers. It stays.") from error
