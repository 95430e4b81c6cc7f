"""The list of the trash."""

from collections.abc import Sequence
from dataclasses import replace

from portal.listing import LongList, ignoring_case
from portal.models import Group, Project, Trash
from portal.trash import trash
from portal.tree.lists import ORIGIN_HEADS, RowWithOrigin, origin_cells, project_path, with_origins


def _with_jobs(rows: Sequence[Trash]) -> list[RowWithOrigin]:
    active = trash.active_jobs(rows)
    return [replace(listed, job=active.get(listed.row.id)) for listed in with_origins(rows, lambda row: row)]


TRASH = LongList(
    table=Trash,
    rows=lambda: Trash.select(Trash, Project, Group).join(Project).join(Group),
    counted=lambda: Trash.select().join(Project),
    views=_with_jobs,
    state=lambda: Trash.kind,
    searched=(Trash.label, Project.label),
    sorts={
        "deleted": lambda: Trash.id,
        "label": lambda: ignoring_case(Trash.label),
        "files": lambda: Trash.files,
        "size": lambda: Trash.size,
    },
    usual="-deleted",
    heads=("Number", "Kind", "Name", "Project", "Files", "Bytes", "Deleted by", *ORIGIN_HEADS[1:-1], "When"),
    cells=lambda listed: (
        *(
            listed.row.id,
            listed.row.kind,
            listed.row.label,
            project_path(listed.row.project),
            listed.row.files,
            listed.row.size,
        ),
        *origin_cells(listed.row, listed.who),
    ),
)
