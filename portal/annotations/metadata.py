"""What is said of containers, changed: label, time, info, tags and notes; one audit row for each act."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing
from portal.models import Group, now, writing
from portal.tree import containers, groups, metadata_values

MAX_NOTES = 1000


@dataclass(frozen=True, kw_only=True)
class InfoChange:
    """The whole new info, or None to keep it; then fields to set and to delete."""

    replace: Mapping[str, Any] | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    delete: Sequence[str] = ()


def change_info(kind: str, row_id: int, wanted: InfoChange, *, actor: Actor) -> dict[str, Any]:
    """Change the info of a container; return the new one. Raises Missing, NotAllowed, BadValue."""

    def changed(row: Any) -> dict[str, Any]:
        info = {**(row.info if wanted.replace is None else wanted.replace), **wanted.set}
        return {"info": metadata_values.info({name: info[name] for name in info if name not in wanted.delete})}

    return dict(_change(kind, row_id, changed, actor=actor).info)


def change_tags(kind: str, row_id: int, new: Callable[[list[str]], list[str]], *, actor: Actor) -> list[str]:
    """Set the tags to what `new` makes of the present ones; return them. Raises Missing, NotAllowed, BadValue."""
    row = _change(kind, row_id, lambda row: {"tags": metadata_values.tags(new(list(row.tags)))}, actor=actor)
    return list(row.tags)


def change_group_tags(code: str, new: Callable[[list[str]], list[str]], *, actor: Actor) -> list[str]:
    """The same for a group, by an admin of it."""
    with writing():
        group = groups.get(code, actor=actor)
        rights.require_group_admin(actor, group.id)
        tags = metadata_values.tags(new(list(group.tags)))
        if tags != group.tags:
            Group.update(tags=tags, modified=now()).where(Group.id == group.id).execute()
            audit.record(actor, "group:changed", "group", group.id, changed=["tags"], code=code)
    return tags


def find_tag(tags: Sequence[str], tag: str) -> str:
    """The tag, if it is one of these. Raises Missing."""
    if tag not in tags:
        raise Missing(f"There is no tag {tag[:64]!r} here.")
    return tag


def add_note(kind: str, row_id: int, text: str, *, actor: Actor) -> dict[str, Any]:
    """Add a note; return it."""
    moment = now().isoformat()
    note = {
        "_id": secrets.token_hex(12),
        "text": metadata_values.note(text),
        "user": actor.name or actor.type,
        "created": moment,
        "modified": moment,
    }

    def with_it(row: Any) -> dict[str, Any]:
        if len(row.notes) >= MAX_NOTES:
            raise BadValue(f"There are {MAX_NOTES:,} notes already. Delete one first.", field="notes")
        return {"notes": metadata_values.notes([*row.notes, note])}

    _change(kind, row_id, with_it, actor=actor)
    return note


def change_note(kind: str, row_id: int, note_id: str, text: str, *, actor: Actor) -> None:
    """Give a note another text. Raises Missing if there is none with this id."""
    said = {"text": metadata_values.note(text), "modified": now().isoformat()}

    def with_it(row: Any) -> dict[str, Any]:
        find_note(row, note_id)
        changed = [note | said if note["_id"] == note_id else note for note in row.notes]
        return {"notes": metadata_values.notes(changed)}

    _change(kind, row_id, with_it, actor=actor)


def delete_note(kind: str, row_id: int, note_id: str, *, actor: Actor) -> None:
    """Raises Missing if there is none with this id."""

    def without_it(row: Any) -> dict[str, Any]:
        find_note(row, note_id)
        return {"notes": [note for note in row.notes if note["_id"] != note_id]}

    _change(kind, row_id, without_it, actor=actor)


def find_note(row: Any, note_id: str) -> dict[str, Any]:
    """The note with this id of a container. Raises Missing."""
    for note in row.notes:
        if note["_id"] == note_id:
            return dict(note)
    raise Missing(f"There is no note {note_id[:64]!r} here.")


def _change(kind: str, row_id: int, new_values: Callable[[Any], dict[str, Any]], *, actor: Actor) -> Any:
    """Write the columns that differ, and the audit of their names: values may tell of a patient."""
    with writing():
        row: Any = containers.writable(kind, row_id, actor)
        values = {name: value for name, value in new_values(row).items() if getattr(row, name) != value}
        if values:
            table = containers.TABLES[kind]
            table.update({**values, "modified": now()}).where(table.id == row.id).execute()
            audit.record(actor, f"{kind}:changed", kind, row.id, changed=sorted(values))
    for name, value in values.items():
        setattr(row, name, value)
    return row
