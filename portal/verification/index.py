"""The DICOM index: each row beside its file, its digest and its counts, and a sample beside the objects themselves."""

from typing import Any

from peewee import JOIN, fn

from portal.errors import PortalError
from portal.maintenance import recovery
from portal.models import CURRENT, Blob, File, Instance, Series, Study
from portal.models.compiled import raw_rows
from portal.verification.files import ranges
from portal.verification.recorder import Recorder

SAMPLE = 2000
"""Objects whose headers are read again, spread over all of them, unless all are asked for."""
REINDEX = "Restore the database from a backup, or delete the rows and run portal reindex."
STEPS = ("instances", "files", "series", "studies", "headers")


def check(recorder: Recorder, *, all_headers: bool) -> None:
    """Continue where the last run was. Raises Stopped."""
    position = recorder.state.position
    at, after = STEPS.index(position.get("step", STEPS[0])), position.get("after", 0)
    for step in STEPS[at:]:
        if step == "headers":
            _check_headers(recorder, after, all_headers=all_headers)
            return
        table, check_range = _TABLES[step]
        for first, last, number in ranges(table, after):
            check_range(recorder, table.id.between(first, last))
            recorder.count("instances" if step == "instances" else f"{step} of the index", number)
            recorder.reached({"step": step, "after": last}, steps=0 if step == "files" else number)
        after = 0


def _check_instances(recorder: Recorder, some: Any) -> None:
    joined = (
        Instance.select(Instance.id, Instance.project, File.id, File.deleted_at, Study.id, Study.project)
        .join(File, JOIN.LEFT_OUTER)
        .join(Blob, JOIN.LEFT_OUTER)
        .switch(Instance)
        .join(Series, JOIN.LEFT_OUTER)
        .join(Study, JOIN.LEFT_OUTER)
    )
    wrong_digest = (Instance.member == "") & (Blob.dataset_digest != Instance.dataset_digest)
    wrong = (
        File.id.is_null()
        | Study.id.is_null()
        | (Study.project != Instance.project)
        | File.deleted_at.is_null(False)
        | wrong_digest
    )
    for number, project, file_id, deleted, study_id, study_project in raw_rows(joined.where(some, wrong)):
        if file_id is None:
            message = "Its file is missing."
        elif study_id is None:
            message = "Its series or study is missing."
        elif deleted is not None:
            message = "Its file is in the trash, but peers still see it."
        elif study_project != project:
            message = "Its study belongs to another project."
        else:
            message = "Its digest is not that of its bytes."
        recorder.find(f"instance {number}", f"{message} {REINDEX}", file_id=file_id)


def _check_files(recorder: Recorder, some: Any) -> None:
    """DICOM files that peers cannot find."""
    of_file = Instance.select(Instance.id).where(Instance.file == File.id)
    unindexed = File.select(File.id).where(some, File.type == "dicom", File.deleted_at.is_null(), ~fn.EXISTS(of_file))
    for (file_id,) in raw_rows(unindexed):
        message = "It is a DICOM file, but not in the index, so peers cannot find it. Run portal reindex."
        recorder.find(f"file {file_id}", message, file_id=file_id)


def _check_series(recorder: Recorder, some: Any) -> None:
    of_series = Instance.select(fn.COUNT(Instance.id)).where(Instance.series == Series.id, Instance.state == CURRENT)
    wrong = Series.select(Series.id, Series.n_instances, of_series).where(some, Series.n_instances != of_series)
    for number, stated, counted in raw_rows(wrong):
        recorder.find(f"series {number}", f"Its row says {stated:,} instances, and {counted:,} are there. {REINDEX}")
    study = Study.select(Study.id).where(Study.id == Series.study)
    for (number,) in raw_rows(Series.select(Series.id).where(some, ~fn.EXISTS(study))):
        recorder.find(f"series {number}", f"Its study is missing. {REINDEX}")


def _check_studies(recorder: Recorder, some: Any) -> None:
    shown = Series.select(fn.COUNT(Series.id)).where(Series.study == Study.id, Series.n_instances > 0)
    total = Series.select(fn.COALESCE(fn.SUM(Series.n_instances), 0)).where(Series.study == Study.id)
    columns = (Study.id, Study.n_series, shown, Study.n_instances, total)
    wrong = Study.select(*columns).where(some, (Study.n_series != shown) | (Study.n_instances != total))
    for number, series, series_counted, instances, instances_counted in raw_rows(wrong):
        stated = f"Its row says {series:,} series and {instances:,} instances"
        counted = f"{series_counted:,} and {instances_counted:,} are there"
        recorder.find(f"study {number}", f"{stated}, and {counted}. {REINDEX}")


_TABLES: dict[str, Any] = {
    "instances": (Instance, _check_instances),
    "files": (File, _check_files),
    "series": (Series, _check_series),
    "studies": (Study, _check_studies),
}


def _check_headers(recorder: Recorder, after: int, *, all_headers: bool) -> None:
    """Read headers again, of all objects or of some: each run takes others, as it begins at another number."""
    last = Instance.select(fn.MAX(Instance.id)).scalar() or 0
    step = 1 if all_headers else max(1, last // SAMPLE)
    after = after or recorder.run.job.id % step
    while row := _next_object(after):
        message = _difference(row)
        if message:
            place = f"instance {row[0]}"
            recorder.find(place, f"{message} {REINDEX}", file_id=row[1])
        recorder.count("headers")
        after = max(row[0], after + step - 1) if step > 1 else row[0]
        recorder.reached({"step": "headers", "after": after})


def _next_object(after: int) -> tuple[Any, ...] | None:
    """The next instance that is a whole file, with its place in the archive and what the index says of it."""
    rows = (
        Instance.select(
            *(Instance.id, File.id, Blob.segment, Blob.offset, Blob.size),
            *(Instance.sop_uid, Instance.sop_class, Instance.transfer_syntax, Series.series_uid, Study.study_uid),
        )
        .join(File)
        .join(Blob)
        .switch(Instance)
        .join(Series)
        .join(Study)
        .where(Instance.id > after, Instance.member == "")
        .order_by(Instance.id)
        .limit(1)
    )
    return next(iter(raw_rows(rows)), None)


def _difference(row: tuple[Any, ...]) -> str:
    """How an object differs from its rows; empty where it does not, and where it cannot be read (`segments`)."""
    number, _file, segment, offset, size, *stated = row
    try:
        parsed = recovery.read_header(segment, offset, size)
    except (PortalError, OSError):
        return ""
    names = ("SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID", "SeriesInstanceUID", "StudyInstanceUID")
    values = (parsed.sop_uid, parsed.sop_class, parsed.transfer_syntax, parsed.series_uid, parsed.study_uid)
    different = [name for name, value, other in zip(names, values, stated, strict=True) if value != other]
    if not different or not Instance.select().where(Instance.id == number).exists():
        return ""
    return f"The index says another {' and '.join(different)} than the object."
