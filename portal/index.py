"""The DICOM index: judges what arrives against what is there, and keeps Study, Series and Instance true."""

from dataclasses import dataclass

from portal import person_names
from portal.header import Header
from portal.models import ALTERNATE, CURRENT, HELD, Acquisition, Conflict, File, Instance, Series, Study


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an arriving object is to those that are here (design decision 3)."""

    state: str
    """current | alternate | held, or `same`: then `file_id` names where it is already."""
    kind: str = ""
    sentence: str = ""
    file_id: int | None = None


SAME = "same"
UNCOMPARED = "The same SOP Instance UID in another transfer syntax, not compared yet."


def judge(project_id: int, header: Header, dataset_digest: str) -> Verdict:
    """Compare an object with the project's by its UIDs. Reads only; takes its rows by index."""
    file_id = same(project_id, header, dataset_digest)
    if file_id is not None:
        return Verdict(state=SAME, file_id=file_id)
    current = (
        Instance.select(Instance.sop_class, Instance.transfer_syntax, Series.series_uid, Study.study_uid)
        .join(Series)
        .join(Study)
        .where(Instance.project == project_id, Instance.sop_uid == header.sop_uid, Instance.state == CURRENT)
        .first()
    )
    kind, sentence = _difference(project_id, header, current)
    if kind:
        return Verdict(state=HELD, kind=kind, sentence=sentence)
    if current is None:
        return Verdict(state=CURRENT)
    if current.transfer_syntax != header.transfer_syntax:
        return Verdict(state=ALTERNATE, sentence=UNCOMPARED)
    return Verdict(state=HELD, kind="content", sentence="Other content than the object that is here under this UID.")


def same(project_id: int, header: Header, dataset_digest: str) -> int | None:
    """The file that holds this very object, in whatever state. Reads only."""
    found = Instance.select(Instance.file).where(
        Instance.project == project_id,
        Instance.sop_uid == header.sop_uid,
        Instance.transfer_syntax == header.transfer_syntax,
        Instance.dataset_digest == dataset_digest,
    )
    return found.scalar()  # type: ignore[no-any-return]


def add(project_id: int, file: File, header: Header, dataset_digest: str, verdict: Verdict) -> Instance:
    """Write the rows of one object, inside the caller's write block."""
    study = _study(project_id, header, file)
    series = _series(study, header, file)
    instance = Instance.create(
        project=project_id,
        series=series,
        file=file,
        sop_uid=header.sop_uid,
        sop_class=header.sop_class,
        transfer_syntax=header.transfer_syntax,
        dataset_digest=dataset_digest,
        number=header.number,
        date=header.content_date,
        time=header.content_time,
        rows=header.rows,
        columns=header.columns,
        frames=header.frames,
        state=verdict.state,
        reason=verdict.sentence,
    )
    if verdict.state == CURRENT:
        _count(instance, 1)
    elif verdict.state == HELD and Conflict.get_or_none(Conflict.file == file) is None:
        Conflict.create(
            file=file, project=project_id, sop_uid=header.sop_uid, kind=verdict.kind, sentence=verdict.sentence
        )
    return instance


def change_state(instance: Instance, state: str, reason: str) -> None:
    """Move an instance between current and the other states, with all counts, inside the caller's write block."""
    was = instance.state
    instance.state, instance.reason = state, reason
    instance.save(only=[Instance.state, Instance.reason])
    if (was == CURRENT) != (state == CURRENT):
        _count(instance, 1 if state == CURRENT else -1)


def remove(file_id: int) -> None:
    """Take a file's instances out of the index, inside the caller's write block: the file is no longer shown."""
    for instance in Instance.select().where(Instance.file == file_id):
        if instance.state == CURRENT:
            _count(instance, -1)
        instance.delete_instance()


def current(project_id: int, sop_uid: str) -> Instance | None:
    """The instance that peers see under this UID."""
    found: Instance | None = Instance.get_or_none(
        Instance.project == project_id, Instance.sop_uid == sop_uid, Instance.state == CURRENT
    )
    return found


def _difference(project_id: int, header: Header, current: Instance | None) -> tuple[str, str]:
    """Kind and sentence of a mismatch with the study, the series or the class that are here; empty where none."""
    if current is not None and current.sop_class != header.sop_class:
        return "class", "Another SOP Class than the object that is here under this UID."
    if current is not None and (current.series.series_uid, current.series.study.study_uid) != (
        header.series_uid,
        header.study_uid,
    ):
        return "study", "The object that is here under this UID belongs to another study or series."
    study = (
        Study.select(Study.n_instances, Study.patient_id, Study.issuer)
        .where(Study.project == project_id, Study.study_uid == header.study_uid)
        .first()
    )
    if study and study.n_instances and (study.patient_id, study.issuer) != (header.patient_id, header.issuer):
        return "patient", "The study that is here belongs to another PatientID."
    elsewhere = (
        Series.select(Series.id).join(Study).where(Study.project == project_id, Series.series_uid == header.series_uid)
    )
    if elsewhere.where(Study.study_uid != header.study_uid, Series.n_instances > 0).exists():
        return "study", "The series is here already, in another study."
    return "", ""


def _study(project_id: int, header: Header, file: File) -> Study:
    """The study's row. What it says comes from its first current object."""
    study = Study.get_or_none(Study.project == project_id, Study.study_uid == header.study_uid)
    if study is not None and study.n_instances:
        return study
    study = study or Study(project=project_id, study_uid=header.study_uid)
    acquisition = _acquisition(file)
    study.session = acquisition.session if acquisition else None
    study.patient_name, study.patient_name_folded = header.patient_name, person_names.fold(header.patient_name)
    study.patient_id, study.issuer = header.patient_id, header.issuer
    study.sex, study.birth_date = header.sex, header.birth_date
    study.date, study.time = header.study_date, header.study_time
    study.accession, study.study_id = header.accession, header.study_id
    study.description = header.study_description
    study.referring, study.referring_folded = header.referring, person_names.fold(header.referring)
    study.header = header.kept()
    study.save()
    return study


def _series(study: Study, header: Header, file: File) -> Series:
    """The series' row. What it says comes from its first current object."""
    series = Series.get_or_none(Series.study == study, Series.series_uid == header.series_uid)
    if series is not None and series.n_instances:
        return series
    series = series or Series(study=study, series_uid=header.series_uid)
    series.acquisition = _acquisition(file)
    series.modality, series.number = header.modality, header.series_number
    series.description, series.body_part = header.series_description, header.body_part
    series.date, series.time = header.series_date, header.series_time
    series.header = header.kept()
    series.save()
    return series


def _acquisition(file: File) -> Acquisition | None:
    if file.parent_type != "acquisition":
        return None
    found: Acquisition | None = Acquisition.get_or_none(Acquisition.id == file.parent_id)
    return found


def _count(instance: Instance, by: int) -> None:
    """Counts of series and study, and what follows from them: the study's series and modalities that are not empty."""
    Series.update(n_instances=Series.n_instances + by).where(Series.id == instance.series_id).execute()
    series = Series.get_by_id(instance.series_id)
    Study.update(n_instances=Study.n_instances + by).where(Study.id == series.study_id).execute()
    if series.n_instances <= 1:
        filled = list(Series.select(Series.modality).where(Series.study == series.study_id, Series.n_instances > 0))
        modalities = sorted({row.modality for row in filled if row.modality})
        Study.update(n_series=len(filled), modalities="\\" + "\\".join(modalities) + "\\" if modalities else "").where(
            Study.id == series.study_id
        ).execute()
