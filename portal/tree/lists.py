"""The lists of Data: projects, and the contents of each container."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import ModelSelect, fn

from portal.access import origins
from portal.access.rights import Scope
from portal.listing import LongList, contains, ignoring_case
from portal.models import (
    CURRENT,
    HELD,
    Acquisition,
    Blob,
    File,
    Group,
    Instance,
    Job,
    Project,
    Series,
    Session,
    Study,
    Subject,
)
from portal.tree import container_sizes, frames
from portal.tree.container_page import ContainerPage

ORIGIN_HEADS = ("Origin", "Number", "Name", "By way of", "Since")
"""Column heads of who created a row, and when."""


@dataclass(frozen=True, kw_only=True)
class TreeRow:
    """One container or file of a list. `second` is its identifier, `inside` the number of containers in it."""

    id: int
    label: str
    second: str
    inside: int = 0
    origin: origins.NamedOrigin
    via: str
    created: datetime
    files: int = 0
    size: int = 0
    state: str = ""
    """Of a file: the state of its instance, where that is not current."""
    digest: str = ""
    series: Series | None = None
    """Of an acquisition, where it has a series that is shown."""
    kind: frames.Kind = "other"


@dataclass(frozen=True, kw_only=True)
class RowWithOrigin:
    """A row of the conflicts or of the trash, with the name of who sent or deleted it."""

    row: Any
    who: origins.NamedOrigin
    job: Job | None = None
    """The job that moves, restores or purges it at this moment."""
    restorable: bool = False
    purgeable: bool = False
    """Of an item in the trash: whether the reader may restore it, and purge it."""


def projects(scope: Scope) -> LongList:
    """The projects of a scope; `second` is the AE title."""
    return LongList(
        table=Project,
        rows=lambda: Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects)),
        views=lambda rows: _container_rows(
            rows, "project", Project.ae_title, _inside(Subject, "project", rows), label=project_path
        ),
        searched=(Project.label, Group.code, Project.ae_title, Group.code.concat("/").concat(Project.label)),
        sorts={
            "label": lambda: ignoring_case(Group.code.concat("/").concat(Project.label)),
            "subjects": lambda: _number_inside(Subject, Subject.project, Project),
            "files": lambda: container_sizes.size_columns("project").files,
            "size": lambda: container_sizes.size_columns("project").size,
            "since": lambda: Project.created,
        },
        usual="label",
        heads=("Project", "AE title", "Subjects", "Files", "Bytes", *ORIGIN_HEADS),
        cells=lambda row: (row.label, row.second, row.inside, row.files, row.size, *_origin_cells(row)),
    )


def children(parent: ContainerPage) -> LongList:
    """The containers directly below a project, a subject or a session."""
    return {"project": _subjects, "subject": _sessions, "session": _acquisitions}[parent.level](parent.id)


def files(parent: ContainerPage) -> LongList:
    """The live files directly in a container."""
    live = (File.parent_type == parent.level, File.parent_id == parent.id, File.deleted_at.is_null())
    return LongList(
        table=File,
        rows=lambda: File.select(File, Blob).join(Blob).where(*live),
        counted=lambda: File.select().where(*live),
        views=_file_rows,
        searched=(File.name,),
        sorts={
            "name": lambda: File.name,
            "size": lambda: Blob.size,
            "since": lambda: File.created,
        },
        usual="name",
        heads=("File", "Type", "State", "Bytes", "SHA-256", *ORIGIN_HEADS),
        cells=lambda row: (row.label, row.second, row.state, row.size, row.digest, *_origin_cells(row)),
    )


def _subjects(project_id: int) -> LongList:
    # Not sorted by files or size: a project may have so many subjects that counting them all takes too long for a page.
    return LongList(
        table=Subject,
        rows=lambda: Subject.select().where(Subject.project == project_id, Subject.trash.is_null()),
        views=lambda rows: _container_rows(rows, "subject", Subject.patient_id, _inside(Session, "subject", rows)),
        searched=(Subject.label, Subject.patient_id),
        sorts={"label": lambda: ignoring_case(Subject.label), "since": lambda: Subject.created},
        usual="label",
        heads=("Subject", "Patient ID", "Sessions", "Files", "Bytes", *ORIGIN_HEADS),
        cells=lambda row: (row.label, row.second, row.inside, row.files, row.size, *_origin_cells(row)),
    )


def _sessions(subject_id: int) -> LongList:
    return LongList(
        table=Session,
        rows=lambda: Session.select().where(Session.subject == subject_id, Session.trash.is_null()),
        views=lambda rows: _container_rows(rows, "session", Session.uid, _inside(Acquisition, "session", rows)),
        searched=(Session.label, Session.uid),
        also=lambda text: (
            fn.EXISTS(Study.select(Study.id).where(Study.session == Session.id, contains(Study.accession, text))),
        ),
        sorts={
            "label": lambda: ignoring_case(Session.label),
            "acquisitions": lambda: _number_inside(Acquisition, Acquisition.session, Session),
            "files": lambda: container_sizes.size_columns("session").files,
            "size": lambda: container_sizes.size_columns("session").size,
            "since": lambda: Session.created,
        },
        usual="label",
        heads=("Session", "Study Instance UID", "Acquisitions", "Files", "Bytes", *ORIGIN_HEADS),
        cells=lambda row: (row.label, row.second, row.inside, row.files, row.size, *_origin_cells(row)),
    )


def _acquisitions(session_id: int) -> LongList:
    # The names of origins are not read. Sorted by the number that a scanner's label begins with: 2 before 10.
    label = Acquisition.label
    return LongList(
        table=Acquisition,
        rows=lambda: Acquisition.select().where(Acquisition.session == session_id, Acquisition.trash.is_null()),
        views=_acquisition_rows,
        searched=(label, Acquisition.uid),
        also=lambda text: (
            _series_of(contains(Series.description, text)),
            _series_of(contains(Series.modality, text)),
        ),
        sorts={
            "number": lambda: ignoring_case(fn.PRINTF("%012d", label.cast("INTEGER")).concat(label)),
            "modality": lambda: Series.select(fn.MIN(Series.modality)).where(Series.acquisition == Acquisition.id),
            "files": lambda: container_sizes.size_columns("acquisition").files,
            "size": lambda: container_sizes.size_columns("acquisition").size,
            "since": lambda: Acquisition.created,
        },
        usual="number",
        heads=(
            *("Acquisition", "Series Instance UID", "Modality", "Series", "Description", "Files", "Bytes"),
            *("Origin", "Number", "By way of", "Since"),
        ),
        cells=lambda row: (
            *(row.label, row.second, row.series and row.series.modality, row.series and row.series.number),
            *(row.series and row.series.description, row.files, row.size),
            *(row.origin.type, row.origin.id, row.via, row.created),
        ),
    )


def project_path(project: Project) -> str:
    return f"{project.group.code}/{project.label}"


def _origin_cells(row: TreeRow) -> tuple[Any, ...]:
    return row.origin.type, row.origin.id, row.origin.name, row.via, row.created


def origin_cells(row: Any, who: origins.NamedOrigin) -> tuple[Any, ...]:
    return who.type, who.id, who.name, row.origin_via, row.created


def with_origins(rows: Sequence[Any], owner: Callable[[Any], Any]) -> list[RowWithOrigin]:
    names = _names(owner(row) for row in rows)
    return [RowWithOrigin(row=row, who=names[owner(row).origin_type, owner(row).origin_id]) for row in rows]


def _container_rows(
    rows: Sequence[Any],
    level: str,
    second: Any,
    inside: dict[int, int],
    *,
    label: Callable[[Any], str] = lambda row: row.label,
) -> list[TreeRow]:
    sizes, names = container_sizes.for_containers(level, _numbers(rows)), _names(rows)
    return [
        TreeRow(
            label=label(row),
            second=getattr(row, second.name) or "",
            **_common(row, inside, names, sizes.get(row.id, container_sizes.EMPTY)),
        )
        for row in rows
    ]


def _acquisition_rows(rows: Sequence[Acquisition]) -> list[TreeRow]:
    sizes = container_sizes.for_containers("acquisition", _numbers(rows))
    names = {(row.origin_type, row.origin_id): origins.without_name(row) for row in rows}
    shown = Series.select().where(Series.acquisition.in_(_numbers(rows)), Series.n_instances > 0)
    series = {one.acquisition_id: one for one in shown}
    return [
        TreeRow(
            label=row.label,
            second=row.uid or "",
            series=series.get(row.id),
            kind=frames.kind_of_modality(series[row.id].modality) if row.id in series else "other",
            **_common(row, {}, names, sizes.get(row.id, container_sizes.EMPTY)),
        )
        for row in rows
    ]


def _file_rows(rows: Sequence[File]) -> list[TreeRow]:
    # Of a zip only that a member waits for an admin.
    told = (Instance.state == HELD) | ((Instance.state != CURRENT) & (Instance.member == ""))
    not_current: ModelSelect[Any] = Instance.select(Instance.file, Instance.state).where(
        Instance.file.in_(_numbers(rows)), told
    )
    states, names = dict(not_current.tuples()), _names(rows)
    return [
        TreeRow(
            label=row.name,
            second=row.type or row.mimetype or "",
            state=states.get(row.id, ""),
            digest=row.blob.digest,
            **_common(row, {}, names, container_sizes.ContainerSize(1, row.blob.size)),
        )
        for row in rows
    ]


def _common(
    row: Any,
    inside: dict[int, int],
    names: dict[origins.OriginKey, origins.NamedOrigin],
    size: container_sizes.ContainerSize,
) -> dict[str, Any]:
    return {
        "id": row.id,
        "inside": inside.get(row.id, 0),
        "files": size.files,
        "size": size.size,
        "origin": names[row.origin_type, row.origin_id],
        "via": row.origin_via,
        "created": row.created,
    }


def _numbers(rows: Sequence[Any]) -> list[int]:
    return [row.id for row in rows]


def _names(rows: Iterable[Any]) -> dict[origins.OriginKey, origins.NamedOrigin]:
    return origins.names((row.origin_type, row.origin_id) for row in rows)


def _series_of(condition: Any) -> Any:
    return fn.EXISTS(Series.select(Series.id).where(Series.acquisition == Acquisition.id, condition))


def _number_inside(table: Any, parent: Any, above: Any) -> Any:
    """The number of containers in each of the level above, to sort by."""
    return table.select(fn.COUNT(table.id)).where(parent == above.id, table.trash.is_null())


def _inside(table: Any, parent_name: str, rows: Sequence[Any]) -> dict[int, int]:
    """By parent: the number of containers directly in it."""
    parent = getattr(table, parent_name)
    counts = table.select(parent, fn.COUNT(table.id)).where(parent.in_(_numbers(rows)), table.trash.is_null())
    return dict(counts.group_by(parent).tuples())
