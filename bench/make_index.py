"""Fill a database with an index of made-up studies, for a look at query plans and times (D4 of performance.md).

python bench/make_index.py DIR [--studies 20000] [--instances 1000000] [--measure]
"""

import argparse
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset

from portal import migrations, models, runtime, settings
from portal.access.rights import Scope
from portal.models import database
from portal.query import find, responses, retrieve
from portal.query.identifiers import Root

FAMILIES = (
    "Abegg",
    "Brunner",
    "Caduff",
    "Derungs",
    "Egli",
    "Frei",
    "Gasser",
    "Huber",
    "Jenni",
    "Lüthi",
    "Meier",
    "Näf",
)
MODALITIES = ("CT", "MR", "US", "CR", "SR")
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SERIES_PER_STUDY = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    chosen = settings.load(options.data)
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        if not models.Study.select().exists():
            fill(options.studies, options.instances)
        if options.measure:
            measure()


def fill(studies: int, instances: int) -> None:
    """Insert the rows in one transaction, by plain SQL: the point is to have them, not to make them as we do."""
    dice = random.Random(4)
    per_series = instances // (studies * SERIES_PER_STUDY)
    with database.atomic():
        insert("container_group", ("id", "code", "label", *OWNED), [(1, "bench", "Bench", *OWNER)])
        insert("project", ("id", "group_id", "label", *OWNED), [(n, 1, f"p{n}", *OWNER) for n in (1, 2)])
        patients = studies // 3 + 1
        insert("subject", SUBJECT_COLUMNS, (subject_row(n) for n in range(1, patients + 1)))
        insert("session", SESSION_COLUMNS, (session_row(n) for n in range(1, studies + 1)))
        acquisitions = (row for n in range(1, studies + 1) for row in acquisition_rows(n))
        insert("acquisition", ACQUISITION_COLUMNS, acquisitions)
        insert("study", STUDY_COLUMNS, (study_row(n, dice, per_series) for n in range(1, studies + 1)))
        insert("series", SERIES_COLUMNS, (row for n in range(1, studies + 1) for row in series_rows(n, per_series)))
        insert("blob", BLOB_COLUMNS, (blob_row(n) for n in range(1, instances + 1)))
        insert("file", FILE_COLUMNS, (file_row(n, per_series) for n in range(1, instances + 1)))
        insert("instance", INSTANCE_COLUMNS, instance_rows(studies * SERIES_PER_STUDY, per_series))


OWNED = ("origin_type", "origin_id", "origin_via", "created", "modified")
OWNER = ("system", "", "", "2026-01-01 00:00:00.000000", "2026-01-01 00:00:00.000000")
KEPT = ("classification", "info", "tags", "notes")
STUDY_COLUMNS = (
    *("id", "project_id", "study_uid", "patient_name", "patient_name_folded", "patient_id", "issuer", "sex"),
    *("birth_date", "date", "time", "accession", "study_id", "description", "referring", "referring_folded"),
    *("modalities", "n_series", "n_instances", "session_id"),
)
SERIES_COLUMNS = ("id", "study_id", "series_uid", "modality", "number", "description", "body_part", "date", "time")
SERIES_COLUMNS += ("n_instances", "acquisition_id")
SUBJECT_COLUMNS = ("id", "project_id", "label", "patient_id", "issuer", *OWNED)
SESSION_COLUMNS = ("id", "subject_id", "label", "uid", *OWNED)
ACQUISITION_COLUMNS = ("id", "session_id", "label", "uid", *OWNED)
BLOB_COLUMNS = ("id", "digest", "dataset_digest", "dataset_offset", "segment", "offset", "size")
FILE_COLUMNS = ("id", "parent_type", "parent_id", "name", "version", "blob_id", *KEPT, *OWNED)
INSTANCE_COLUMNS = ("id", "project_id", "series_id", "file_id", "member", "sop_uid", "sop_class", "transfer_syntax")
INSTANCE_COLUMNS += ("dataset_digest", "number", "date", "time", "state", "reason")


def subject_row(number: int) -> tuple[Any, ...]:
    return (number, 1, f"P{number - 1:06}", f"P{number - 1:06}", "", *OWNER)


def session_row(number: int) -> tuple[Any, ...]:
    return (number, number // 3 + 1, f"Thorax {number}", f"1.2.3.{number}", *OWNER)


def acquisition_rows(study: int) -> Iterator[tuple[Any, ...]]:
    for place, modality in enumerate(MODALITIES):
        number = (study - 1) * SERIES_PER_STUDY + place + 1
        yield (number, study, f"{place} {modality} axial", f"1.2.3.{study}.{place}", *OWNER)


def study_row(number: int, dice: random.Random, per_series: int) -> tuple[Any, ...]:
    name = f"{dice.choice(FAMILIES)}{number % 977}^Anna"
    day = f"{dice.randrange(2018, 2026)}{dice.randrange(1, 13):02}{dice.randrange(1, 29):02}"
    who = (name, name.casefold(), f"P{number // 3:06}", "", "F", "19700101")
    what = (day, "101500", f"A{number:07}", str(number), "Thorax", "", "")
    counts = ("\\" + "\\".join(sorted(MODALITIES)) + "\\", SERIES_PER_STUDY, SERIES_PER_STUDY * per_series, number)
    return (number, 1, f"1.2.3.{number}", *who, *what, *counts)


def series_rows(study: int, per_series: int) -> Iterator[tuple[Any, ...]]:
    for place, modality in enumerate(MODALITIES):
        number = (study - 1) * SERIES_PER_STUDY + place + 1
        uid = f"1.2.3.{study}.{place}"
        yield (number, study, uid, modality, str(place), "axial", "CHEST", "20200101", "101500", per_series, number)


def blob_row(number: int) -> tuple[Any, ...]:
    return (number, f"{number:064x}", f"{number:064x}", 300, "bench-1-0.seg", number * 20_000, 20_000)


def file_row(number: int, per_series: int) -> tuple[Any, ...]:
    return (
        number,
        "acquisition",
        (number - 1) // per_series + 1,
        f"{number}.dcm",
        1,
        number,
        "{}",
        "{}",
        "[]",
        "[]",
        *OWNER,
    )


def instance_rows(series: int, per_series: int) -> Iterator[tuple[Any, ...]]:
    number = 0
    for parent in range(1, series + 1):
        for place in range(per_series):
            number += 1
            what = (f"1.2.3.9.{number}", CT_IMAGE_STORAGE, EXPLICIT, f"{number:064x}", str(place), "20200101", "101500")
            yield (number, 1, parent, number, "", *what, "current", "")


def insert(table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(columns))
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
    database.connection().executemany(sql, rows)


QUESTIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("one StudyInstanceUID", "STUDY", {"StudyInstanceUID": "1.2.3.777"}),
    ("a list of 50 UIDs", "STUDY", {"StudyInstanceUID": [f"1.2.3.{n}" for n in range(1, 51)]}),
    ("PatientID", "STUDY", {"PatientID": "P001234"}),
    ("AccessionNumber", "STUDY", {"AccessionNumber": "A0001234"}),
    ("a name", "STUDY", {"PatientName": "Huber120^Anna"}),
    ("a name's beginning", "STUDY", {"PatientName": "huber12*"}),
    ("one day", "STUDY", {"StudyDate": "20200505"}),
    ("a week", "STUDY", {"StudyDate": "20200505-20200511"}),
    ("a week of CT", "STUDY", {"StudyDate": "20200505-20200511", "ModalitiesInStudy": "CT"}),
    ("counts of a patient", "STUDY", {"PatientID": "P001234", "NumberOfPatientRelatedInstances": ""}),
    ("a patient", "PATIENT", {"PatientID": "P001234", "NumberOfPatientRelatedInstances": ""}),
    ("patients by name", "PATIENT", {"PatientName": "huber12*"}),
    ("series of a study", "SERIES", {"StudyInstanceUID": "1.2.3.777", "SeriesInstanceUID": ""}),
    ("images", "IMAGE", {"StudyInstanceUID": "1.2.3.777", "SeriesInstanceUID": "1.2.3.777.1", "SOPInstanceUID": ""}),
    ("all patients", "PATIENT", {"NumberOfPatientRelatedInstances": ""}),
    ("all studies", "STUDY", {}),
)


def measure() -> None:
    """Print for each question its answers and the milliseconds of the best of five runs."""
    for scope in (Scope(projects=(1,), stores=frozenset()), Scope(projects=(2, 1), stores=frozenset())):
        print(f"scope of {len(scope.projects)}")
        for name, level, keys in QUESTIONS:
            best, count = min(timed(request(level, keys), scope) for _ in range(1 if name.startswith("all") else 5))
            print(f"  {name:32} {count:6} answers {best * 1000:8.2f} ms")
        begin = time.perf_counter()
        count = sum(1 for _ in retrieve.plan(request("STUDY", {"StudyInstanceUID": "1.2.3.777"}), scope, root="study"))
        print(f"  {'plan of a study':32} {count:6} objects {(time.perf_counter() - begin) * 1000:8.2f} ms")


def timed(ds: Dataset, scope: Scope) -> tuple[float, int]:
    begin = time.perf_counter()
    root: Root = "patient" if ds.QueryRetrieveLevel == "PATIENT" else "study"
    count = sum(1 for _ in find.find(responses.encode(ds, EXPLICIT), EXPLICIT, scope, root=root))
    return time.perf_counter() - begin, count


def request(level: str, keys: dict[str, Any]) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword in ("PatientName", "PatientID", "StudyDate", "NumberOfStudyRelatedInstances"):
        setattr(ds, keyword, "")
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


if __name__ == "__main__":
    main()
