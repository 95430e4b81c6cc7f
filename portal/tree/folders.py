"""Containers as folders: the path that each has in an export or a zip, and what is known of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.models import Acquisition, Group, Project, Series, Session, Study
from portal.models.compiled import is_one_of, raw_rows
from portal.storage_drivers import object_keys
from portal.tree.batches import batched

CONTAINERS_PER_PAGE = 200
"""Containers whose rows are read at once."""
IDS_PER_QUERY = 500
MANIFESTS_FOLDER = "manifests"
"""The folder of the manifests: no project's objects go there."""

Facts = dict[str, str]
"""What is known of a file or container, by the names of `portal.exports.fields.FIELDS`."""


class SegmentNames:
    """The path segments in use within one folder, each once, also where a store ignores case."""

    def __init__(self, *reserved: str) -> None:
        self._given = {hash(object_keys.case_folded(name)) for name in reserved}

    def give(self, label: str, number: int) -> str:
        """The label as a segment. Of those that would collide the first keeps it, the others get their row number."""
        segment = object_keys.segment(label)
        while (folded := hash(object_keys.case_folded(segment))) in self._given:
            segment = object_keys.with_row_number(segment, number)
        self._given.add(folded)
        return segment


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One container; `names` are the segments in use in it."""

    level: str
    id: int
    path: str
    facts: Facts
    subject: int = 0
    identified: bool = False
    """Whether its files belong to a named patient."""
    names: SegmentNames = field(default_factory=SegmentNames, compare=False)


@dataclass(frozen=True, kw_only=True)
class _PlacedSession:
    """A session that has its path already; its acquisitions are not read yet."""

    id: int
    label: str
    uid: str
    day: str
    subject: Folder
    path: str


def of_project(project_id: int) -> Folder:
    """The project's folder: the same one in each export, also beside projects of that name in other groups."""
    names = SegmentNames(MANIFESTS_FOLDER)
    rows: Any = Project.select(Project.id, Project.label, Group.code).join(Group).order_by(Project.id).tuples()
    for number, label, group in rows:
        segment = names.give(label, number)
        if number == project_id:
            facts = {"group": group, "project": label}
            return Folder(level="project", id=number, path=segment, facts=facts)
    return Folder(level="project", id=project_id, path=names.give("project", project_id), facts={})


def of_subject(project: Folder, number: int, label: str, patient_id: str) -> Folder:
    return Folder(
        level="subject",
        id=number,
        path=f"{project.path}/{project.names.give(label, number)}",
        facts={**project.facts, "subject": label, "patient id": patient_id},
        subject=number,
        identified=bool(patient_id),
    )


def of_session(session_id: int, label: str) -> list[Folder]:
    """The acquisitions of one session, then the session itself, with paths that begin with its label."""
    subject = Folder(level="subject", id=0, path="", facts={})
    path = object_keys.segment(label)
    session = _PlacedSession(id=session_id, label=label, uid="", day="", subject=subject, path=path)
    return _with_acquisitions([session])[session_id]


def below(subjects: Sequence[Folder], sessions: set[int] | None) -> Iterator[Folder]:
    """The containers of some subjects, each after those in it; of some `sessions` alone, or with None of all."""
    placed = _sessions_then_subject(subjects, sessions)
    for batch in batched(placed, CONTAINERS_PER_PAGE):
        folders = _with_acquisitions([one for one in batch if not isinstance(one, Folder)])
        for one in batch:
            if isinstance(one, Folder):
                yield one
            else:
                yield from folders[one.id]


def _sessions_then_subject(subjects: Sequence[Folder], wanted: set[int] | None) -> Iterator[_PlacedSession | Folder]:
    rows = _children(Session, Session.subject, [subject.id for subject in subjects])
    for subject in subjects:
        for number, label, uid, moment in rows.get(subject.id, ()):
            # All sessions are given a name, so that it does not depend on which of them are selected.
            path = f"{subject.path}/{subject.names.give(label, number)}"
            if wanted is None or number in wanted:
                day = str(moment or "")[:10].replace("-", "")
                yield _PlacedSession(id=number, label=label, uid=uid or "", day=day, subject=subject, path=path)
        if wanted is None:
            yield subject


def _with_acquisitions(sessions: Sequence[_PlacedSession]) -> dict[int, list[Folder]]:
    """By session: the folders of its acquisitions, then its own."""
    ids = [session.id for session in sessions]
    studies = _study_facts(ids)
    acquisitions = _children(Acquisition, Acquisition.session, ids)
    series = _series_facts([row[0] for rows in acquisitions.values() for row in rows])
    folders: dict[int, list[Folder]] = {}
    for placed in sessions:
        study = studies.get(placed.id, {})
        session = Folder(
            level="session",
            id=placed.id,
            path=placed.path,
            facts={
                "study uid": placed.uid,
                "date": placed.day,
                **placed.subject.facts,
                **study,
                "session": placed.label,
            },
            subject=placed.subject.subject,
            identified=placed.subject.identified or bool(study.get("patient")),
        )
        folders[placed.id] = [
            Folder(
                level="acquisition",
                id=number,
                path=f"{session.path}/{session.names.give(label, number)}",
                facts={**session.facts, **series.get(number, {}), "acquisition": label},
                subject=session.subject,
                identified=session.identified,
            )
            for number, label, *_ in acquisitions.get(placed.id, ())
        ]
        folders[placed.id].append(session)
    return folders


def _children(table: Any, parent: Any, ids: Sequence[int]) -> dict[int, list[Any]]:
    """By container: row number, label, UID and moment of those directly in it, in the order of the rows."""
    children: dict[int, list[Any]] = defaultdict(list)
    for batch in batched(ids, IDS_PER_QUERY):
        rows: Any = table.select(parent, table.id, table.label, table.uid, table.timestamp).where(parent.in_(batch))
        for above, *row in raw_rows(rows.order_by(table.id)):
            children[above].append(row)
    return children


def _study_facts(sessions: Sequence[int]) -> dict[int, Facts]:
    """What the first study of each session says."""
    columns = (Study.session, Study.study_uid, Study.description, Study.accession, Study.date, Study.time)
    names = ("study uid", "study", "accession", "date", "time", "patient")
    facts: dict[int, Facts] = {}
    rows: Any = Study.select(*columns, Study.patient_name).where(is_one_of(Study.session, sessions))
    for session, *values in raw_rows(rows.order_by(Study.id)):
        facts.setdefault(session, dict(zip(names, values, strict=True)))
    return facts


def _series_facts(acquisitions: Sequence[int]) -> dict[int, Facts]:
    """What the first series of each acquisition says, and its study."""
    columns = (Series.series_uid, Series.description, Series.number, Series.modality, Series.body_part)
    names = ("series uid", "series", "series number", "modality", "body part", "study uid", "study", "accession")
    more = (Study.study_uid, Study.description, Study.accession, Study.date, Study.time)
    facts: dict[int, Facts] = {}
    for batch in batched(acquisitions, IDS_PER_QUERY):
        rows: Any = Series.select(Series.acquisition, *columns, *more).join(Study)
        rows = rows.where(is_one_of(Series.acquisition, batch))
        for acquisition, *values in raw_rows(rows.order_by(Series.id)):
            facts.setdefault(acquisition, dict(zip((*names, "date", "time"), values, strict=True)))
    return facts
