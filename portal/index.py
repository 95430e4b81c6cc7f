"""The DICOM index: judges what arrives against what is there, and keeps Study, Series and Instance true."""

from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal import patients, person_names
from portal.header import Header
from portal.models import (
    ALTERNATE,
    CURRENT,
    HELD,
    Acquisition,
    Conflict,
    File,
    Instance,
    Series,
    Study,
    arrivals,
)
from portal.models.arrivals import KnownObject, KnownStudy
from portal.patients import Patient


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
    current = arrivals.current_object(project_id, header.sop_uid)
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
    return arrivals.same_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest)


def add(project_id: int, file: File, header: Header, dataset_digest: str, verdict: Verdict) -> Instance:
    """Write the rows of one object, inside the caller's write block."""
    study_id = _study(project_id, header, file, verdict)
    instance = Instance.create(
        project=project_id,
        series=_series(study_id, header, file),
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


def remove_all(files: Any) -> None:
    """Take the instances of some files (a query of their numbers) out of the index, as `remove`, at once."""
    shown: Any = Instance.select(Instance.series, fn.COUNT(Instance.id)).where(
        Instance.file.in_(files), Instance.state == CURRENT
    )
    gone = list(shown.group_by(Instance.series).tuples())
    Instance.delete().where(Instance.file.in_(files)).execute()
    for series_id, number in gone:
        _count_series(series_id, -number)


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


def _difference(project_id: int, header: Header, current: KnownObject | None) -> tuple[str, str]:
    """Kind and sentence of a mismatch with the study, the series or the class that are here; empty where none."""
    if current is not None and current.sop_class != header.sop_class:
        return "class", "Another SOP Class than the object that is here under this UID."
    if current is not None and (current.series_uid, current.study_uid) != (header.series_uid, header.study_uid):
        return "study", "The object that is here under this UID belongs to another study or series."
    study = arrivals.study(project_id, header.study_uid)
    if study and study.n_instances and not patients.is_same(_patient(study), _patient(header)):
        return "patient", "The study that is here belongs to another PatientID."
    if arrivals.is_series_elsewhere(project_id, header.series_uid, header.study_uid):
        return "study", "The series is here already, in another study."
    return "", ""


def _patient(row: Header | KnownStudy) -> Patient:
    return Patient(row.patient_id, row.issuer)


def _study(project_id: int, header: Header, file: File, verdict: Verdict) -> int:
    """The study's number. What its row says comes from its first current object, but for an issuer that it lacks."""
    known = arrivals.study(project_id, header.study_uid)
    if known is not None and known.n_instances:
        if header.issuer and not known.issuer and verdict.state == CURRENT:
            Study.update(issuer=header.issuer).where(Study.id == known.id).execute()
        return known.id
    study = Study(project=project_id, study_uid=header.study_uid) if known is None else Study.get_by_id(known.id)
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
    return int(study.id)


def _series(study_id: int, header: Header, file: File) -> int:
    """The series' number. What its row says comes from its first current object."""
    known = arrivals.series(study_id, header.series_uid)
    if known is not None and known.n_instances:
        return known.id
    series = Series(study=study_id, series_uid=header.series_uid) if known is None else Series.get_by_id(known.id)
    series.acquisition = _acquisition(file)
    series.modality, series.number = header.modality, header.series_number
    series.description, series.body_part = header.series_description, header.body_part
    series.date, series.time = header.series_date, header.series_time
    series.header = header.kept()
    series.save()
    return int(series.id)


def _acquisition(file: File) -> Acquisition | None:
    if file.parent_type != "acquisition":
        return None
    found: Acquisition | None = Acquisition.get_or_none(Acquisition.id == file.parent_id)
    return found


def _count(instance: Instance, by: int) -> None:
    """Counts of series and study, and what follows from them: the study's series and modalities that are not empty."""
    _count_series(instance.series_id, by)


def _count_series(series_id: int, by: int) -> None:
    study_id, left = arrivals.count(series_id, by)
    if left <= max(by, 1):
        filled = list(Series.select(Series.modality).where(Series.study == study_id, Series.n_instances > 0))
        modalities = sorted({row.modality for row in filled if row.modality})
        Study.update(n_series=len(filled), modalities="\\" + "\\".join(modalities) + "\\" if modalities else "").where(
            Study.id == study_id
        ).execute()
