"""What the rows of studies and series say: it is taken from one of their objects that are shown.

When that object is trashed or replaced, the write block only marks the rows. `refresh` reads another object outside of
it; what a kill leaves marked is taken by the worker's sweep.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from portal import runtime
from portal.dicom import header, person_names
from portal.dicom.header import Header
from portal.errors import PortalError, Unreachable
from portal.models import CURRENT, Acquisition, File, Instance, Series, Study, writing
from portal.models.index import needs_refresh

log = logging.getLogger(__name__)

ROWS_PER_PAGE = 100
MAX_SOURCES_TRIED = 3
"""Objects that are read for one row, where the first ones are damaged."""


def describe_study(study: Study, parsed: Header, file: File) -> None:
    """Fill a study's row by the header of one of its objects; the caller saves it."""
    acquisition = _acquisition(file)
    study.session = acquisition.session if acquisition else None
    study.issuer = parsed.issuer or (study.issuer if study.patient_id == parsed.patient_id else "")
    study.patient_id = parsed.patient_id
    study.patient_name, study.patient_name_folded = parsed.patient_name, person_names.fold(parsed.patient_name)
    study.sex, study.birth_date = parsed.sex, parsed.birth_date
    study.date, study.time = parsed.study_date, parsed.study_time
    study.accession, study.study_id = parsed.accession, parsed.study_id
    study.description = parsed.study_description
    study.referring, study.referring_folded = parsed.referring, person_names.fold(parsed.referring)
    study.header = parsed.kept
    study.source, study.next_source = file.id, None


def describe_series(series: Series, parsed: Header, file: File) -> None:
    """The same for a series."""
    series.acquisition = _acquisition(file)
    series.modality, series.number = parsed.modality, parsed.series_number
    series.description, series.body_part = parsed.series_description, parsed.body_part
    series.date, series.time = parsed.series_date, parsed.series_time
    series.header = parsed.kept
    series.source, series.next_source = file.id, None


def update_study_summary(study_id: int) -> None:
    """Write down how many series of a study are shown, and their modalities, inside the caller's write block."""
    filled = list(Series.select(Series.modality).where(Series.study == study_id, Series.n_instances > 0))
    modalities = sorted({row.modality for row in filled if row.modality})
    joined = "\\" + "\\".join(modalities) + "\\" if modalities else ""
    Study.update(n_series=len(filled), modalities=joined).where(Study.id == study_id).execute()


def mark_shown(instance: Instance) -> None:
    """Have the rows taken from an object that is shown in place of another, inside the caller's write block."""
    Series.update(next_source=instance.file_id).where(Series.id == instance.series_id).execute()
    of_study = Series.select(Series.study).where(Series.id == instance.series_id)
    Study.update(next_source=instance.file_id).where(Study.id.in_(of_study)).execute()


def mark_hidden(series: Sequence[int], files: Sequence[int]) -> None:
    """Have those of these series, and their studies, taken anew that say what one of these files says."""
    Series.update(next_source=0).where(Series.id.in_(list(series)), Series.source.in_(list(files))).execute()
    studies = Series.select(Series.study).where(Series.id.in_(list(series)))
    Study.update(next_source=0).where(Study.id.in_(studies), Study.source.in_(list(files))).execute()


def refresh() -> int:
    """Take the marked rows anew, each in a short write block of its own; how many there were.

    Rows whose objects cannot be reached now stay marked. Of two processes at once, the second changes nothing.
    """
    done = 0
    for table in (Series, Study):
        for row in _marked(table):
            try:
                done += _retake(table, row)
            except PortalError as error:
                log.warning("%s %d cannot be taken anew: %s", table._meta.table_name, row.id, error.message)
    return done


def _marked(table: Any) -> Iterator[Any]:
    last = 0
    while page := list(
        table.select(table.id, table.next_source)
        .where(*needs_refresh(table), table.id > last)
        .order_by(table.id)
        .limit(ROWS_PER_PAGE)
    ):
        yield from page
        last = page[-1].id


def _retake(table: Any, row: Any) -> bool:
    read = _first_readable(_shown(table, row))
    with writing():
        known = table.get_or_none(table.id == row.id, table.next_source == row.next_source)
        if known is None:
            return False
        if read is None:
            log.warning("no object of %s %d can be read: its row stays", table._meta.table_name, row.id)
            table.update(next_source=None).where(table.id == row.id).execute()
            return False
        file, parsed = read
        if not Instance.select().where(Instance.file == file, Instance.state == CURRENT).exists():
            return False  # the next call takes another one
        _write(known, parsed, file)
    return True


def _write(row: Study | Series, parsed: Header, file: File) -> None:
    if isinstance(row, Study):
        describe_study(row, parsed, file)
        row.save()
        return
    before = row.modality
    describe_series(row, parsed, file)
    row.save()
    if row.modality != before:
        update_study_summary(row.study_id)


def _shown(table: Any, row: Any) -> list[File]:
    """Files of objects that are shown, the wanted one first, then the oldest."""
    series = Series.select(Series.id).where(Series.n_instances > 0, *_inside(table, row)).order_by(Series.id)
    shown = File.select().join(Instance).where(Instance.state == CURRENT)
    wanted = shown.where(File.id == row.next_source, Instance.series.in_(series))
    oldest = shown.where(Instance.series == series.limit(1)).order_by(Instance.id).limit(MAX_SOURCES_TRIED)
    return [*wanted, *(file for file in oldest if file.id != row.next_source)]


def _inside(table: Any, row: Any) -> tuple[Any, ...]:
    return (Series.study == row.id,) if table is Study else (Series.id == row.id,)


def _first_readable(files: Sequence[File]) -> tuple[File, Header] | None:
    """Raises Unreachable where the archive cannot be asked now; a damaged object is passed by."""
    for file in files:
        blob = file.blob
        try:
            with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
                return file, header.read_file(cast(BinaryIO, content), blob.size)[0]
        except Unreachable:
            raise
        except PortalError as error:
            log.warning("file %d cannot be read: %s", file.id, error.message)
    return None


def _acquisition(file: File) -> Acquisition | None:
    if file.parent_type != "acquisition":
        return None
    found: Acquisition | None = Acquisition.get_or_none(Acquisition.id == file.parent_id)
    return found
