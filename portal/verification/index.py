"""The DICOM index: each row beside its file, its digest and its counts, and a sample beside the objects themselves."""

from typing import Any

from peewee import JOIN, fn

from portal.dicom import header
from portal.errors import PortalError
from portal.maintenance import recovery, segment_copies
from portal.models import CURRENT, Blob, DicomZip, File, Instance, Series, Study, ZipMember, object_places
from portal.models.compiled import raw_rows
from portal.models.object_places import ObjectPlace
from portal.verification.files import ROWS_AT_ONCE, ranges
from portal.verification.recorder import Recorder
from portal.zip_members import object_content

SAMPLE = 2000
"""Objects whose headers are read again, spread over all of them, unless all are asked for."""
REINDEX = "Restore the database from a backup, or delete the rows and run portal reindex."
SERIES_AT_ONCE = 200
"""A series may have thousands of instances, all of which are counted."""
STEPS = ("instances", "files", "series", "studies", "headers")


def check(recorder: Recorder, *, all_headers: bool) -> None:
    """Continue where the last run was. Raises Stopped."""
    position = recorder.state.position
    at, after = STEPS.index(position.get("step", STEPS[0])), position.get("after", 0)
    for step in STEPS[at:]:
        if step == "headers":
            _check_headers(recorder, after, all_headers=all_headers)
            return
        table, check_range, limit = _TABLES[step]
        for first, last, number in ranges(table, after, limit):
            check_range(recorder, table.id.between(first, last))
            if step != "files":  # counted as files already
                recorder.count("instances" if step == "instances" else f"{step} of the index", number)
            recorder.reached({"step": step, "after": last}, steps=0 if step == "files" else number)
        after = 0


def _check_instances(recorder: Recorder, some: Any) -> None:
    joined = (
        Instance.select(
            *(Instance.id, Instance.project, Instance.member),
            *(File.id, File.deleted_at, Study.id, Study.project),
        )
        .join(File, JOIN.LEFT_OUTER)
        .join(Blob, JOIN.LEFT_OUTER)
        .switch(Instance)
        .join(Series, JOIN.LEFT_OUTER)
        .join(Study, JOIN.LEFT_OUTER)
    )
    wrong_digest = (Instance.member == "") & (Blob.dataset_digest != Instance.dataset_digest)
    in_zip = ZipMember.select(ZipMember.id).where(ZipMember.instance == Instance.id)
    is_lost_member = (Instance.member != "") & ~fn.EXISTS(in_zip)
    wrong = (
        File.id.is_null()
        | Study.id.is_null()
        | (Study.project != Instance.project)
        | File.deleted_at.is_null(False)
        | wrong_digest
        | is_lost_member
    )
    for number, project, member, file_id, deleted, study_id, study_project in raw_rows(joined.where(some, wrong)):
        if file_id is None:
            message = "Its file is missing."
        elif study_id is None:
            message = "Its series or study is missing."
        elif deleted is not None:
            message = "Its file is in the trash, but peers still see it."
        elif study_project != project:
            message = "Its study belongs to another project."
        elif member:
            message = "Its place in the zip is missing."
        else:
            message = "Its digest is not that of its bytes."
        recorder.find(f"instance {number}", f"{message} {REINDEX}", file_id=file_id)


def _check_files(recorder: Recorder, some: Any) -> None:
    """DICOM files that peers cannot find."""
    of_file = Instance.select(Instance.id).where(Instance.file == File.id)
    unindexed = (
        File.select(File.id, Blob.segment, Blob.offset, Blob.size)
        .join(Blob)
        .where(some, File.type == "dicom", File.deleted_at.is_null(), ~fn.EXISTS(of_file))
    )
    for file_id, *place in raw_rows(unindexed):
        try:
            recovery.read_header(*place)
        except (PortalError, OSError):
            continue  # a program called it DICOM; or it is damaged, which the archive's check says
        message = "It is a DICOM file, but not in the index, so peers cannot find it. Run portal reindex."
        recorder.find(f"file {file_id}", message, file_id=file_id)
    indexed = Instance.select(fn.COUNT(Instance.id)).where(Instance.file == File.id)
    zips = DicomZip.select(File.id, DicomZip.objects, indexed).join(File)
    zips = zips.where(some, File.deleted_at.is_null(), DicomZip.is_settled, DicomZip.objects != indexed)
    for file_id, stated, counted in raw_rows(zips):
        message = f"It is a zip of {stated:,} DICOM objects, and {counted:,} are in the index. Run portal reindex."
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
    current = Instance.select().join(Series).where(Series.study == Study.id, Instance.state == CURRENT)
    total = current.select(fn.COUNT(Instance.id))
    shown = current.select(fn.COUNT(Instance.series.distinct()))
    columns = (Study.id, Study.n_series, shown, Study.n_instances, total)
    wrong = Study.select(*columns).where(some, (Study.n_series != shown) | (Study.n_instances != total))
    for number, series, series_counted, instances, instances_counted in raw_rows(wrong):
        stated = f"Its row says {series:,} series and {instances:,} instances"
        counted = f"{series_counted:,} and {instances_counted:,} are there"
        recorder.find(f"study {number}", f"{stated}, and {counted}. {REINDEX}")


_TABLES: dict[str, Any] = {
    "instances": (Instance, _check_instances, ROWS_AT_ONCE),
    "files": (File, _check_files, ROWS_AT_ONCE),
    "series": (Series, _check_series, SERIES_AT_ONCE),
    "studies": (Study, _check_studies, SERIES_AT_ONCE),
}
"""By step: the table, the check of a range of its rows, and how many rows a range has."""


def _check_headers(recorder: Recorder, after: int, *, all_headers: bool) -> None:
    """Read headers again, of all objects or of some: each run takes others, as it begins at another number."""
    last = Instance.select(fn.MAX(Instance.id)).scalar() or 0
    step = 1 if all_headers else max(1, last // SAMPLE)
    after = after or recorder.run.job.id % step
    while row := _next_object(after):
        place = object_places.of_instances([row[0]]).get(row[0])
        # What is only in the bucket is not fetched: each object would cost a block of 4 MiB.
        if place and segment_copies.is_here(place.segment):
            if message := _difference(row, place):
                recorder.find(f"instance {row[0]}", f"{message} {REINDEX}", file_id=row[1])
            recorder.count("headers")
        after = max(row[0], after + step - 1) if step > 1 else row[0]
        recorder.reached({"step": "headers", "after": after})


def _next_object(after: int) -> tuple[Any, ...] | None:
    """The next instance, with its file and what the index says of it."""
    stated = (Instance.sop_uid, Instance.sop_class, Instance.transfer_syntax, Series.series_uid, Study.study_uid)
    rows = (
        Instance.select(Instance.id, Instance.file, Instance.member, Instance.dataset_digest, *stated)
        .join(Series)
        .join(Study)
        .where(Instance.id > after)
        .order_by(Instance.id)
        .limit(1)
    )
    return next(iter(raw_rows(rows)), None)


def _difference(row: tuple[Any, ...], place: ObjectPlace) -> str:
    """How an object differs from its rows; empty where it does not, and where it cannot be read (`segments`)."""
    number, _file, member, digest, *stated = row
    try:
        with object_content.open_to_seek(place) as content:
            parsed, begin = header.read_file(content, place.size)
        if member:  # the digest of a whole file is compared by its record
            with object_content.open_place(object_places.behind(place, begin)) as data_set:
                digest_read = data_set.digest()
        else:
            digest_read = digest
    except (PortalError, OSError):
        return ""
    names = ("SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID", "SeriesInstanceUID", "StudyInstanceUID")
    values = (parsed.sop_uid, parsed.sop_class, parsed.transfer_syntax, parsed.series_uid, parsed.study_uid)
    different = [name for name, value, other in zip(names, values, stated, strict=True) if value != other]
    different += [] if digest_read == digest else ["digest"]
    if not different or not Instance.select().where(Instance.id == number).exists():
        return ""
    return f"The index says another {' and '.join(different)} than the object."
