"""The list of projects by their disk usage."""

from dataclasses import dataclass

from portal.listing import LongList, ignoring_case
from portal.models import Group, Project
from portal.tree import container_sizes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One project with the size of its files; `path` is GROUP/PROJECT."""

    id: int
    path: str
    ae_title: str
    files: int
    size: int


_PATH = Group.code.concat("/").concat(Project.label)

PROJECTS = LongList(
    table=Project,
    rows=lambda: Project.select(
        Project,
        Group,
        *(column.alias(name) for name, column in container_sizes.size_columns("project")._asdict().items()),
    ).join(Group),
    counted=lambda: Project.select().join(Group),
    views=lambda rows: [
        Row(
            id=row.id,
            path=f"{row.group.code}/{row.label}",
            ae_title=row.ae_title or "",
            files=row.files or 0,
            size=row.size or 0,
        )
        for row in rows
    ],
    searched=(_PATH, Project.ae_title),
    sorts={
        "label": lambda: ignoring_case(_PATH),
        "files": lambda: container_sizes.size_columns("project").files,
        "size": lambda: container_sizes.size_columns("project").size,
    },
    usual="-size",
    heads=("Project", "AE title", "Files", "Bytes"),
    cells=lambda row: (row.path, row.ae_title, row.files, row.size),
)
"""All projects of the site, for site admins."""
