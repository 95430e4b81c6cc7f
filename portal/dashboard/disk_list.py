"""The projects by what they take of the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portal.listing import LongList, ordered
from portal.models import Group, Project
from portal.tree import container_sizes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One project with its live files; `path` is GROUP/PROJECT."""

    id: int
    path: str
    ae_title: str
    files: int
    size: int


def _rows() -> Any:
    held = container_sizes.size_columns("project")
    return Project.select(Project, Group, held.files.alias("files"), held.size.alias("size")).join(Group)


def _views(found: Sequence[Any]) -> list[Row]:
    return [
        Row(
            id=row.id,
            path=f"{row.group.code}/{row.label}",
            ae_title=row.ae_title or "",
            files=row.files or 0,
            size=row.size or 0,
        )
        for row in found
    ]


_PATH = Group.code.concat("/").concat(Project.label)

PROJECTS = LongList(
    table=Project,
    rows=_rows,
    counted=lambda: Project.select().join(Group),
    views=_views,
    searched=(_PATH, Project.ae_title),
    sorts={
        "label": lambda: ordered(_PATH),
        "files": lambda: container_sizes.size_columns("project").files,
        "size": lambda: container_sizes.size_columns("project").size,
    },
    usual="-size",
    heads=("Project", "AE title", "Files", "Bytes"),
    cells=lambda row: (row.path, row.ae_title, row.files, row.size),
)
"""Of the whole site: for site admins."""
