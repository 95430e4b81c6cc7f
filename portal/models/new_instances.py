"""The statements for an instance that is new in a series that is known: one question, and the rows that it gets."""

from typing import Any, NamedTuple

from peewee import JOIN, Value, fn

from portal.models.base import database
from portal.models.compiled import Statement, number, text
from portal.models.index import CURRENT, Instance, Series, Study
from portal.models.tree import DICOM, Acquisition, Blob, File, Group, Project, Session, Subject


class KnownSeries(NamedTuple):
    """What one project knows of the study and the series of an arriving object."""

    project_id: int
    group_code: str
    project_label: str
    study_id: int
    has_instances: bool
    """Whether anything of the study is shown."""
    patient_id: str
    issuer: str
    """Empty, or that of one of the study's current objects."""
    series_id: int | None
    """None where nothing of the series is shown."""
    acquisition_id: int | None
    """None where the series has no acquisition in the study's session, or one in the trash."""
    is_obstructed: bool
    """Whether the object has to be judged: its UID, its series in another study or its name are known already, or its
    session is in the trash."""

    @property
    def path(self) -> str:
        """GROUP/PROJECT."""
        return f"{self.group_code}/{self.project_label}"


_instance, _elsewhere, _other_study = Instance.alias(), Series.alias(), Study.alias()

_known = Statement(
    lambda: (
        Study.select(
            Study.project,
            Group.code,
            Project.label,
            Study.id,
            Study.n_instances > 0,
            Study.patient_id,
            Study.issuer,
            Series.id,
            Acquisition.id,
            Session.trash.is_null(False)
            | Subject.trash.is_null(False)
            | fn.EXISTS(_instance.select(_instance.id).where(_has_uid()))
            | fn.EXISTS(
                _elsewhere.select(_elsewhere.id)
                .join(_other_study)
                .where(
                    _elsewhere.series_uid == text(1),
                    _elsewhere.n_instances > 0,
                    _other_study.project == Study.project,
                    _other_study.id != Study.id,
                )
            )
            | fn.EXISTS(File.select(File.id).where(_has_name())),
        )
        .join(Project)
        .join(Group)
        .join_from(
            Study,
            Series,
            JOIN.LEFT_OUTER,
            on=(Series.study == Study.id) & (Series.series_uid == text(1)) & (Series.n_instances > 0),
        )
        .join_from(Study, Session, JOIN.LEFT_OUTER)
        .join_from(Session, Subject, JOIN.LEFT_OUTER)
        .join_from(
            Study,
            Acquisition,
            JOIN.LEFT_OUTER,
            on=(Acquisition.session == Study.session) & (Acquisition.uid == text(1)) & Acquisition.trash.is_null(),
        )
        .where(Study.study_uid == text(0))
    )
)
_add_blob = Statement(
    lambda: Blob.insert(
        digest=text(0),
        dataset_digest=text(1),
        dataset_offset=number(2),
        segment=text(3),
        offset=number(4),
        size=number(5),
    )
)
_add_file = Statement(
    lambda: File.insert(
        parent_type="acquisition",
        parent_id=number(0),
        name=text(1),
        blob=number(2),
        type="dicom",
        mimetype=DICOM,
        modality=text(3),
        origin_type=text(4),
        origin_id=text(5),
        origin_via=text(6),
        created=Value(text(7), converter=False),
        modified=Value(text(7), converter=False),
    )
)
_add_instance = Statement(
    lambda: Instance.insert(
        project=number(0),
        series=number(1),
        file=number(2),
        sop_uid=text(3),
        sop_class=text(4),
        transfer_syntax=text(5),
        dataset_digest=text(6),
        number=text(7),
        date=text(8),
        time=text(9),
        rows=number(10),
        columns=number(11),
        frames=number(12),
        state=CURRENT,
    )
)
_count_series = Statement(lambda: Series.update(n_instances=Series.n_instances + 1).where(Series.id == number(0)))
_count_study = Statement(lambda: Study.update(n_instances=Study.n_instances + 1).where(Study.id == number(0)))


def known_series(*, study_uid: str, series_uid: str, sop_uid: str, name: str) -> list[KnownSeries]:
    """What each project with the study knows of it, of the series, and of whatever an object of this UID meets there.

    `name`: the name that its file is to get.
    """
    return [KnownSeries(*row) for row in _known.rows(study_uid, series_uid, sop_uid, name)]


def add_blob(*columns: Any) -> int:
    """Add a blob and return its row number; `columns`: digest … size, in the order of the table."""
    return _add_blob.insert(*columns)


def add_file(known: KnownSeries, *columns: Any) -> int:
    """Add the file of an object and return its row number; `columns`: name, blob, modality, origin_type, origin_id,
    origin_via and created, which is as `UtcField` writes it.
    """
    return _add_file.insert(known.acquisition_id, *columns)


def add_instance(known: KnownSeries, *columns: Any) -> None:
    """Add a current instance and count it; `columns`: file, sop_uid … frames, in the order of the table."""
    _add_instance.run(known.project_id, known.series_id, *columns)
    _count_series.run(known.series_id)
    _count_study.run(known.study_id)


def change_counter() -> int:
    """A number that changes once another connection has written, as this thread's connection sees it."""
    return int(database.execute_sql("PRAGMA data_version").fetchone()[0])


def _has_uid() -> Any:
    return (_instance.sop_uid == text(2)) & (_instance.project == Study.project)


def _has_name() -> Any:
    return (
        (File.parent_type == "acquisition")
        & (File.parent_id == Acquisition.id)
        & (File.name == text(3))
        & File.deleted_at.is_null()
    )
