"""The attributes of studies and series, copied from one of their objects that are shown.

When that object is trashed or replaced, the write block only marks the rows; `refresh` reads another object outside of
it. Rows that a kill leaves marked are refreshed by the worker's sweep.
"""

import logging
from collections.abc import Sequence
from typing import Any

from portal.dicom import header, person_names
from portal.dicom.header import Header
from portal.errors import PortalError, Unreachable
from portal.models import CURRENT, Acquisition, File, Instance, Series, Study, arrivals, object_places, writing
from portal.models.index import needs_refresh
from portal.zip_members import object_content

log = logging.getLogger(__name__)

ROWS_PER_PAGE = 100
MAX_SOURCES_TRIED = 3
"""Objects that are read for one row at most, where the first ones are damaged."""


def ensure_series(project_id: int, header: Header, file: File, *, is_shown: bool) -> int:
    """The row number of the object's series, created with its study where they are new.

    The attributes of both come from their first current object, except for an issuer that is still missing.
    """
    known_study = arrivals.study(project_id, header.study_uid)
    if known_study is not None and known_study.n_instances:
        study_id = known_study.id
        if header.issuer and not known_study.issuer and is_shown:
            Study.update(issuer=header.issuer).where(Study.id == study_id).execute()
    else:
        study = (
            Study.get_by_id(known_study.id) if known_study else Study(project=project_id, study_uid=header.study_uid)
        )
        describe_study(study, header, file)
        study.save()
        study_id = int(study.id)

    known_series = arrivals.series(study_id, header.series_uid)
    if known_series is not None and known_series.n_instances:
        return known_series.id
    series = Series.get_by_id(known_series.id) if known_series else Series(study=study_id, series_uid=header.series_uid)
    describe_series(series, header, file)
    series.save()
    return int(series.id)


def describe_study(study: Study, parsed: Header, file: File) -> None:
    """Fill a study's row from the header of one of its objects; the caller saves it."""
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
    """Write the number of a study's series that are shown, and their modalities, inside the caller's write block."""
    shown = list(Series.select(Series.modality).where(Series.study == study_id, Series.n_instances > 0))
    modalities = sorted({row.modality for row in shown if row.modality})
    joined = "\\" + "\\".join(modalities) + "\\" if modalities else ""
    Study.update(n_series=len(shown), modalities=joined).where(Study.id == study_id).execute()


def mark_shown(instance: Instance) -> None:
    """Mark the rows to be refreshed from an object that is now shown, inside the caller's write block."""
    Series.update(next_source=instance.file_id).where(Series.id == instance.series_id).execute()
    of_study = Series.select(Series.study).where(Series.id == instance.series_id)
    Study.update(next_source=instance.file_id).where(Study.id.in_(of_study)).execute()


def mark_hidden(series: Sequence[int], files: Sequence[int]) -> None:
    """Mark those of these series, and their studies, whose attributes came from one of these files."""
    Series.update(next_source=0).where(Series.id.in_(list(series)), Series.source.in_(list(files))).execute()
    studies = Series.select(Series.study).where(Series.id.in_(list(series)))
    Study.update(next_source=0).where(Study.id.in_(studies), Study.source.in_(list(files))).execute()


def refresh() -> int:
    """Refresh the marked rows, each in a short write block of its own; returns how many.

    Rows whose objects cannot be reached now stay marked. Of two processes at once, the second changes nothing.
    """
    done = 0
    tables: tuple[Any, ...] = (Series, Study)
    for table in tables:
        marked = table.select(table.id, table.next_source).where(*needs_refresh(table))
        last = 0
        while page := list(marked.where(table.id > last).order_by(table.id).limit(ROWS_PER_PAGE)):
            last = page[-1].id
            for row in page:
                try:
                    done += _refresh_row(table, row)
                except PortalError as error:
                    log.warning("%s %d cannot be refreshed: %s", table._meta.table_name, row.id, error.message)
    return done


def _refresh_row(table: Any, row: Any) -> bool:
    # Candidates: the object that was named when the row was marked, then the oldest that are shown.
    within = Series.study == row.id if table is Study else Series.id == row.id
    series = Series.select(Series.id).where(Series.n_instances > 0, within).order_by(Series.id)
    shown = Instance.select().where(Instance.state == CURRENT).order_by(Instance.id).limit(MAX_SOURCES_TRIED)
    named = list(shown.where(Instance.file == row.next_source, Instance.series.in_(series)))
    oldest = shown.where(Instance.series == series.limit(1), Instance.file != row.next_source)
    read = _first_readable([*named, *oldest])

    with writing():
        known = table.get_or_none(table.id == row.id, table.next_source == row.next_source)
        if known is None:
            return False
        if read is None:
            log.warning("no object of %s %d can be read: its row stays as it is", table._meta.table_name, row.id)
            table.update(next_source=None).where(table.id == row.id).execute()
            return False
        instance, parsed = read
        if not Instance.select().where(Instance.id == instance.id, Instance.state == CURRENT).exists():
            return False  # hidden meanwhile: the next call reads another one
        file = instance.file
        if isinstance(known, Study):
            describe_study(known, parsed, file)
            known.save()
            return True
        modality_before = known.modality
        describe_series(known, parsed, file)
        known.save()
        if known.modality != modality_before:
            update_study_summary(known.study_id)
    return True


def _first_readable(instances: Sequence[Instance]) -> tuple[Instance, Header] | None:
    """Raises Unreachable where the archive cannot be reached now; a damaged object is skipped."""
    places = object_places.of_instances([instance.id for instance in instances])
    for instance in instances:
        place = places[instance.id]
        try:
            with object_content.open_to_seek(place) as content:
                return instance, header.read_file(content, place.size)[0]
        except Unreachable:
            raise
        except PortalError as error:
            log.warning("file %d cannot be read: %s", instance.file_id, error.message)
    return None


def _acquisition(file: File) -> Acquisition | None:
    if file.parent_type != "acquisition":
        return None
    acquisition: Acquisition | None = Acquisition.get_or_none(Acquisition.id == file.parent_id)
    return acquisition
