"""The statements that ingest runs for each object that arrives."""

from typing import Any, NamedTuple

from portal.models import object_places
from portal.models.compiled import Statement, number, text
from portal.models.index import CURRENT, Instance, Series, Study
from portal.models.object_places import ObjectPlace
from portal.models.tree import Acquisition, File, Group, Project, Session, Subject

MAX_RIVALS = 4
"""Objects of one UID with which an arriving one is compared."""


class KnownStudy(NamedTuple):
    id: int
    n_instances: int
    patient_id: str
    issuer: str
    """Empty, or that of one of its current objects."""
    session_id: int | None


class KnownObject(NamedTuple):
    file_id: int
    sop_class: str
    transfer_syntax: str
    series_uid: str
    study_uid: str


class SameObject(NamedTuple):
    """Where exactly an object is already: a file, or a member of one."""

    file_id: int
    member: str


class Rival(NamedTuple):
    """An object with the same UID: its file, or the member of one, and the place of its data set."""

    file_id: int
    member: str
    place: ObjectPlace


class KnownSeries(NamedTuple):
    id: int
    n_instances: int


_same = Statement(
    lambda: Instance.select(Instance.file, Instance.member).where(
        Instance.project == number(0),
        Instance.sop_uid == text(1),
        Instance.transfer_syntax == text(2),
        Instance.dataset_digest == text(3),
    )
)
_same_in = Statement(
    lambda: (
        Instance.select(Instance.file)
        .join(File)
        .where(
            Instance.project == number(0),
            Instance.sop_uid == text(1),
            Instance.transfer_syntax == text(2),
            Instance.dataset_digest == text(3),
            File.parent_type == text(4),
            File.parent_id == number(5),
            Instance.member == "",
        )
    )
)
_same_current = Statement(
    lambda: Instance.select(Instance.file).where(
        Instance.project == number(0),
        Instance.sop_uid == text(1),
        Instance.transfer_syntax == text(2),
        Instance.dataset_digest == text(3),
        Instance.state == CURRENT,
    )
)
_current = Statement(
    lambda: (
        Instance.select(Instance.file, Instance.sop_class, Instance.transfer_syntax, Series.series_uid, Study.study_uid)
        .join(Series)
        .join(Study)
        .where(Instance.project == number(0), Instance.sop_uid == text(1), Instance.state == CURRENT)
    )
)
_rivals = Statement(
    lambda: (
        object_places.join(Instance.select(Instance.file, Instance.member, *object_places.COLUMNS))
        .where(
            Instance.project == number(0),
            Instance.sop_uid == text(1),
            Instance.transfer_syntax == text(2),
        )
        .order_by(Instance.state != CURRENT, Instance.id.desc())
        .limit(MAX_RIVALS)
    )
)
_subjects = Statement(
    lambda: (
        Subject.select(Subject.id, Subject.issuer)
        .where(Subject.project == number(0), Subject.patient_id == text(1), Subject.patient_id != "")
        .order_by(Subject.id)
    )
)
_study = Statement(
    lambda: Study.select(Study.id, Study.n_instances, Study.patient_id, Study.issuer, Study.session).where(
        Study.project == number(0), Study.study_uid == text(1)
    )
)
_series = Statement(
    lambda: Series.select(Series.id, Series.n_instances).where(Series.study == number(0), Series.series_uid == text(1))
)
_series_elsewhere = Statement(
    lambda: (
        Series.select(Series.id)
        .join(Study)
        .where(
            Study.project == number(0),
            Series.series_uid == text(1),
            Study.study_uid != text(2),
            Series.n_instances > 0,
        )
        .limit(1)
    )
)
_holding = Statement(lambda: Study.select(Study.project).where(Study.study_uid == text(0), Study.n_instances > 0))
_acquisition = Statement(
    lambda: Acquisition.select(Acquisition.id).where(Acquisition.session == number(0), Acquisition.uid == text(1))
)
_live_file = Statement(
    lambda: File.select(File.id).where(
        File.parent_type == text(0), File.parent_id == number(1), File.name == text(2), File.deleted_at.is_null()
    )
)
_in_trash = {
    "acquisition": Statement(
        lambda: (
            Acquisition.select(Acquisition.id)
            .join(Session)
            .join(Subject)
            .where(
                Acquisition.id == number(0),
                Acquisition.trash.is_null(False) | Session.trash.is_null(False) | Subject.trash.is_null(False),
            )
        )
    ),
    "session": Statement(
        lambda: (
            Session.select(Session.id)
            .join(Subject)
            .where(Session.id == number(0), Session.trash.is_null(False) | Subject.trash.is_null(False))
        )
    ),
    "subject": Statement(
        lambda: Subject.select(Subject.id).where(Subject.id == number(0), Subject.trash.is_null(False))
    ),
}
_project_of = {
    "acquisition": Statement(
        lambda: Acquisition.select(Subject.project).join(Session).join(Subject).where(Acquisition.id == number(0))
    ),
    "session": Statement(lambda: Session.select(Subject.project).join(Subject).where(Session.id == number(0))),
    "subject": Statement(lambda: Subject.select(Subject.project).where(Subject.id == number(0))),
    "project": Statement(lambda: Project.select(Project.id).where(Project.id == number(0))),
}
_project_path = Statement(lambda: Project.select(Group.code, Project.label).join(Group).where(Project.id == number(0)))
_count_series = Statement(
    lambda: Series.update(n_instances=Series.n_instances + number(0)).where(Series.id == number(1))
)
_count_study = Statement(lambda: Study.update(n_instances=Study.n_instances + number(0)).where(Study.id == number(1)))
_series_counts = Statement(lambda: Series.select(Series.study, Series.n_instances).where(Series.id == number(0)))


def same_object(project_id: int, sop_uid: str, transfer_syntax: str, dataset_digest: str) -> SameObject | None:
    """The file, or the member of one, with exactly this object, in any state."""
    row = _same.first(project_id, sop_uid, transfer_syntax, dataset_digest)
    return SameObject(*row) if row else None


def same_object_in(
    container: tuple[str, int], project_id: int, sop_uid: str, transfer_syntax: str, dataset_digest: str
) -> int | None:
    """The file of this container that is exactly this object, in any state."""
    return _number(_same_in.first(project_id, sop_uid, transfer_syntax, dataset_digest, *container))


def is_current_object(project_id: int, sop_uid: str, transfer_syntax: str, dataset_digest: str) -> bool:
    """Whether exactly this object is the current one of its UID."""
    return _same_current.first(project_id, sop_uid, transfer_syntax, dataset_digest) is not None


def current_object(project_id: int, sop_uid: str) -> KnownObject | None:
    row = _current.first(project_id, sop_uid)
    return KnownObject(*row) if row else None


def rivals(project_id: int, sop_uid: str, transfer_syntax: str) -> list[Rival]:
    """Objects of this UID in this transfer syntax, in any state: the current one first, then the newest."""
    rows = _rivals.rows(project_id, sop_uid, transfer_syntax)
    return [Rival(row[0], row[1], object_places.data_set(row[2:])) for row in rows]


def study(project_id: int, study_uid: str) -> KnownStudy | None:
    row = _study.first(project_id, study_uid)
    return KnownStudy(*row) if row else None


def subjects(project_id: int, patient_id: str) -> list[tuple[int, str]]:
    """Number and issuer of each subject with this Patient ID, which is not empty; including the trash."""
    return [(row[0], row[1]) for row in _subjects.rows(project_id, patient_id)]


def series(study_id: int, series_uid: str) -> KnownSeries | None:
    row = _series.first(study_id, series_uid)
    return KnownSeries(*row) if row else None


def is_series_elsewhere(project_id: int, series_uid: str, study_uid: str) -> bool:
    """Whether another study of the project has current instances in a series of this UID."""
    return _series_elsewhere.first(project_id, series_uid, study_uid) is not None


def projects_holding(study_uid: str) -> list[int]:
    return [row[0] for row in _holding.rows(study_uid)]


def acquisition(session_id: int, uid: str) -> int | None:
    return _number(_acquisition.first(session_id, uid))


def live_file(parent_type: str, parent_id: int, name: str) -> int | None:
    """The file of this name that is not in the trash."""
    return _number(_live_file.first(parent_type, parent_id, name))


def is_in_trash(container_type: str, container_id: int) -> bool:
    """Whether a container, or one above it, is in the trash."""
    return _in_trash[container_type].first(container_id) is not None


def project_of(container_type: str, container_id: int) -> int | None:
    """The project of a container, also of one in the trash; None where the container does not exist."""
    return _number(_project_of[container_type].first(container_id))


def project_path(project_id: int) -> str:
    """GROUP/PROJECT."""
    row = _project_path.first(project_id)
    return "/".join(row) if row else ""


def add_to_counts(series_id: int, by: int) -> tuple[int, int]:
    """Add to the instance counts of a series and its study; returns the study and the new count of the series."""
    _count_series.run(by, series_id)
    row: Any = _series_counts.first(series_id)
    _count_study.run(by, row[0])
    return row[0], row[1]


def _number(row: tuple[Any, ...] | None) -> int | None:
    return int(row[0]) if row else None
