"""The list of the trash."""

from collections.abc import Sequence
from dataclasses import replace

from portal.access.rights import Scope
from portal.errors import NotAllowed
from portal.listing import LongList, ignoring_case
from portal.models import Group, Project, Trash
from portal.trash import original, trash
from portal.tree.lists import ORIGIN_HEADS, RowWithOrigin, origin_cells, project_path, with_origins


def trash_of(scope: Scope) -> LongList:
    """The items in the trash of the projects that somebody may delete in. Raises NotAllowed for who only reads."""
    if not scope.stores and Project.select().exists():  # on a new site, the trash of its admin is empty
        raise NotAllowed("You may read, and delete nothing: there is no trash of yours. Ask an admin of a project.")
    here = Trash.project.in_(scope.stores)
    return LongList(
        table=Trash,
        rows=lambda: Trash.select(Trash, Project, Group).join(Project).join(Group).where(here),
        counted=lambda: Trash.select().join(Project).where(here),
        views=lambda rows: _views(rows, scope),
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


def _views(rows: Sequence[Trash], scope: Scope) -> list[RowWithOrigin]:
    active = trash.active_jobs(rows)
    return [
        replace(
            listed,
            job=active.get(listed.row.id),
            purgeable=listed.row.project_id in scope.manages,
            restorable=listed.row.project_id in scope.manages or not original.is_in_trash(listed.row),
        )
        for listed in with_origins(rows, lambda row: row)
    ]
