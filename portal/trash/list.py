"""The list of what lies in the trash."""

from collections.abc import Sequence
from dataclasses import replace

from portal.listing import LongList, ordered
from portal.models import (
    Group,
    Project,
    Trash,
)
from portal.trash import trash
from portal.tree.lists import OWNER_HEADS, Owned, owned, owner_of, path_of

TRASH = LongList(
    table=Trash,
    rows=lambda: Trash.select(Trash, Project, Group).join(Project).join(Group),
    counted=lambda: Trash.select().join(Project),
    views=lambda rows: _thrown(rows),
    state=lambda: Trash.kind,
    searched=(Trash.label, Project.label),
    sorts={
        "thrown": lambda: Trash.id,
        "label": lambda: ordered(Trash.label),
        "files": lambda: Trash.files,
        "size": lambda: Trash.size,
    },
    usual="-thrown",
    heads=("Number", "Kind", "Name", "Project", "Files", "Bytes", "Thrown by", *OWNER_HEADS[1:-1], "When"),
    cells=lambda found: (
        *(found.row.id, found.row.kind, found.row.label, path_of(found.row.project), found.row.files, found.row.size),
        *owner_of(found.row, found.who),
    ),
)


def _thrown(rows: Sequence[Trash]) -> list[Owned]:
    busy = trash.busy(rows)
    return [replace(found, job=busy.get(found.row.id)) for found in owned(rows, lambda row: row)]
