"""A walk through a project's tree: each live file with its usual path, and what is known of it."""

import itertools
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from peewee import JOIN, fn

from portal.models import (
    HELD,
    SUPERSEDED,
    Acquisition,
    Blob,
    File,
    FileVersion,
    Group,
    Instance,
    Project,
    Series,
    Session,
    Study,
    Subject,
)
from portal.models.compiled import is_one_of, raw_rows
from portal.storage_drivers import object_keys
from portal.tree import versions
from portal.tree.versions import OlderVersion

CONTAINERS_PER_PAGE = 200
"""Containers that are read at once."""
FILES_PER_PAGE = 500
"""Files that are read at once; their numbers alone are read for a page of containers."""
MANIFESTS_FOLDER = "manifests"
"""The folder of the manifests: no project's objects go there."""

T = TypeVar("T")
Facts = dict[str, str]
"""What is known of a file or container, each by its word of `export_fields.FIELDS`."""


@dataclass(frozen=True, kw_only=True)
class ProjectPart:
    """What of a project is meant: all of it, some of its subjects, or some of its sessions."""

    project: int
    level: str = "project"
    ids: tuple[int, ...] = ()


class SegmentNames:
    """The segments that are given out within one folder, each once, also where a store ignores case."""

    def __init__(self, *reserved: str) -> None:
        self._given = {hash(object_keys.case_folded(name)) for name in reserved}

    def give(self, label: str, number: int) -> str:
        """The label as a segment. Of those that would collide the first keeps it, the others get their row's number."""
        segment = object_keys.segment(label)
        while (folded := hash(object_keys.case_folded(segment))) in self._given:
            segment = object_keys.with_row_number(segment, number)
        self._given.add(folded)
        return segment


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One container on the walk; `names` are those that are given out in it."""

    level: str
    id: int
    path: str
    facts: Facts
    subject: int = 0
    identified: bool = False
    """Whether what lies in it names a patient."""
    names: SegmentNames = field(default_factory=SegmentNames, compare=False)


class WalkedFile(NamedTuple):
    """One file that an export may take; `path` is where it goes if nobody says otherwise."""

    id: int
    name: str
    path: str
    size: int
    digest: str
    folder: Folder
    more: tuple[str | None, ...]
    version: int = 1
    is_older: bool = False
    """Whether it is a version before the file's newest."""

    def key(self, path: str) -> str:
        """The path that a template gives to the file, as that of this version."""
        if not self.is_older:
            return path
        folder, slash, name = path.rpartition("/")
        return f"{folder}{slash}{object_keys.versioned(name, self.version)}"

    @property
    def facts(self) -> Facts:
        told = {name: value or "" for name, value in zip(_OF_FILE, self.more, strict=True)}
        size, level = str(self.size), self.folder.level
        return {**self.folder.facts, **told, "file": self.name, "size": size, "level": level}


class Walk:
    """Through a part of a project; `hidden` counts the objects that it passed over. `with_versions`: the older ones
    of the files of a container come after all of its files, so that these keep the names that they have without.

    Files that came after `last_file` are not on the way, nor what is held for a conflict or superseded. The order is
    always the same, and no row of it is read before it is wanted.
    """

    def __init__(self, part: ProjectPart, last_file: int, *, with_versions: bool = False) -> None:
        self._part = part
        self._last_file = last_file
        self._with_versions = with_versions and versions.any_exist()
        self.hidden = 0

    def files(self) -> Iterator[WalkedFile]:
        top = project_folder(self._part.project)
        subjects = self._subjects()
        after = 0
        while page := _page(Subject, Subject.project == self._part.project, after):
            after = page[-1][0]
            named = [subject_folder(top, *row) for row in page]
            yield from self.of(self.below([folder for folder in named if subjects is None or folder.id in subjects]))
        if self._part.level == "project":
            yield from self.of([top])

    def of(self, folders: Iterable[Folder]) -> Iterator[WalkedFile]:
        """The files that lie directly in some containers, one container after the other."""
        for some in batched(folders, CONTAINERS_PER_PAGE):
            yield from self.named(some, self._numbers(some))

    def _subjects(self) -> set[int] | None:
        """Those that hold what is meant; None for all."""
        if self._part.level == "project":
            return None
        if self._part.level == "subject":
            return set(self._part.ids)
        found: set[int] = set()
        for some in batched(self._part.ids, FILES_PER_PAGE):
            found.update(row.subject_id for row in Session.select(Session.subject).where(Session.id.in_(list(some))))
        return found

    def below(self, subjects: Sequence[Folder]) -> Iterator[Folder]:
        """The containers of some subjects that are meant, each after what lies in it."""
        meant = None if self._part.level != "session" else set(self._part.ids)
        found = _children(Session, Session.subject, [folder.id for folder in subjects])
        for some in batched(_stops(subjects, found, meant), CONTAINERS_PER_PAGE):
            below = _sessions([stop for stop in some if not isinstance(stop, Folder)])
            for stop in some:
                if isinstance(stop, Folder):
                    yield stop
                else:
                    yield from below[stop.id]

    def _numbers(self, folders: Sequence[Folder]) -> dict[tuple[str, int], "array[int]"]:
        """The numbers of the files of some containers, in the order of their rows."""
        found: dict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))
        for level in dict.fromkeys(folder.level for folder in folders):
            ids = [folder.id for folder in folders if folder.level == level]
            rows: Any = File.select(File.parent_id, File.id).where(
                File.parent_type == level, is_one_of(File.parent_id, ids), File.deleted_at.is_null()
            )
            for parent, number in raw_rows(rows):
                if number <= self._last_file:
                    found[level, parent].append(number)
        return {place: array("q", sorted(numbers)) for place, numbers in found.items()}

    def named(self, folders: Sequence[Folder], numbers: dict[tuple[str, int], "array[int]"]) -> Iterator[WalkedFile]:
        """Files of some containers by their numbers."""
        pairs = ((folder, number) for folder in folders for number in numbers.get((folder.level, folder.id), ()))
        waiting: list[WalkedFile] = []
        for some in batched(pairs, FILES_PER_PAGE):
            ids = [number for _folder, number in some]
            rows, older = _files(ids), versions.older(ids) if self._with_versions else {}
            for folder, number in some:
                if waiting and waiting[0].folder is not folder:
                    yield from _named_versions(waiting)
                    waiting.clear()
                row = rows.get(number)
                if row is None:
                    continue
                name, size, digest, hidden, version, *more = row
                self.hidden += hidden
                if not hidden:
                    path = f"{folder.path}/{folder.names.give(name, number)}"
                    found = WalkedFile(number, name, path, size, digest, folder, tuple(more), version)
                    yield found
                    waiting += _versions(found, older.get(number, ()))
        yield from _named_versions(waiting)


def _versions(found: WalkedFile, older: Sequence[OlderVersion]) -> Iterator[WalkedFile]:
    kind, _origin, *rest = found.more
    for one in older:
        more = (kind, one.origin_type, *rest)
        yield found._replace(size=one.size, digest=one.digest, more=more, version=one.number, is_older=True)


def _named_versions(waiting: Sequence[WalkedFile]) -> Iterator[WalkedFile]:
    """With the names that are free once all files of the folder have theirs."""
    for found in waiting:
        segment = found.folder.names.give(object_keys.versioned(found.name, found.version), found.id)
        yield found._replace(path=f"{found.folder.path}/{segment}")


def session_keys(session_id: int, label: str) -> list[tuple[str, int]]:
    """Key and file number of each object of a session as it is now, as an export would have them, below its label."""
    newest = File.select(fn.MAX(File.id)).scalar() or 0
    above = Folder(level="subject", id=0, path="", facts={})
    stop = _Session(id=session_id, label=label, uid="", day="", subject=above, path=object_keys.segment(label))
    found = Walk(ProjectPart(project=0), newest).of(_sessions([stop])[session_id])
    return [(each.path, each.id) for each in found]


def batched(rows: Iterable[T], number: int) -> Iterator[list[T]]:
    """The rows in lists of some; none is read before it is wanted."""
    source = iter(rows)
    while some := list(itertools.islice(source, number)):
        yield some


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A session that is still to be gone through."""

    id: int
    label: str
    uid: str
    day: str
    subject: Folder
    path: str


def subject_folder(top: Folder, number: int, label: str, patient_id: str) -> Folder:
    return Folder(
        level="subject",
        id=number,
        path=f"{top.path}/{top.names.give(label, number)}",
        facts={**top.facts, "subject": label, "patient id": patient_id},
        subject=number,
        identified=bool(patient_id),
    )


def _stops(
    subjects: Sequence[Folder], sessions: dict[int, list[Any]], meant: set[int] | None
) -> Iterator["_Session | Folder"]:
    """The sessions of each subject, named among all of them, and then the subject itself."""
    for subject in subjects:
        for number, label, uid, moment in sessions.get(subject.id, ()):
            path = f"{subject.path}/{subject.names.give(label, number)}"
            if meant is None or number in meant:
                day = str(moment or "")[:10].replace("-", "")
                yield _Session(id=number, label=label, uid=uid or "", day=day, subject=subject, path=path)
        if meant is None:
            yield subject


def _sessions(stops: Sequence[_Session]) -> dict[int, list[Folder]]:
    """The acquisitions of some sessions, and each session after its own."""
    ids = [stop.id for stop in stops]
    studies = _studies(ids)
    acquisitions = _children(Acquisition, Acquisition.session, ids)
    series = _series([row[0] for some in acquisitions.values() for row in some])
    found: dict[int, list[Folder]] = {}
    for stop in stops:
        study = studies.get(stop.id, {})
        session = Folder(
            level="session",
            id=stop.id,
            path=stop.path,
            facts={"study uid": stop.uid, "date": stop.day, **stop.subject.facts, **study, "session": stop.label},
            subject=stop.subject.subject,
            identified=stop.subject.identified or bool(study.get("patient")),
        )
        found[stop.id] = [*_acquisitions(session, acquisitions.get(stop.id, ()), series), session]
    return found


def _acquisitions(session: Folder, rows: Sequence[Any], series: dict[int, Facts]) -> Iterator[Folder]:
    for number, label, *_ in rows:
        yield Folder(
            level="acquisition",
            id=number,
            path=f"{session.path}/{session.names.give(label, number)}",
            facts={**session.facts, **series.get(number, {}), "acquisition": label},
            subject=session.subject,
            identified=session.identified,
        )


def project_folder(project_id: int) -> Folder:
    """The project's folder: the same one in each export, also beside projects of that name in other groups."""
    names = SegmentNames(MANIFESTS_FOLDER)
    found: Any = Project.select(Project.id, Project.label, Group.code).join(Group).order_by(Project.id).tuples()
    for number, label, group in found:
        segment = names.give(label, number)
        if number == project_id:
            facts = {"group": group, "project": label}
            return Folder(level="project", id=number, path=segment, facts=facts)
    return Folder(level="project", id=project_id, path=names.give("project", project_id), facts={})


def _page(table: type[Subject], belongs: Any, after: int) -> list[tuple[Any, ...]]:
    rows: Any = table.select(table.id, table.label, table.patient_id).where(belongs, table.id > after)
    return raw_rows(rows.order_by(table.id).limit(CONTAINERS_PER_PAGE))


def _children(table: Any, parent: Any, ids: Sequence[int]) -> dict[int, list[Any]]:
    """Number, label, UID and moment of what lies in some containers, by these, in the order of the rows."""
    found: dict[int, list[Any]] = defaultdict(list)
    for some in batched(ids, FILES_PER_PAGE):
        rows: Any = table.select(parent, table.id, table.label, table.uid, table.timestamp).where(
            parent.in_(list(some))
        )
        for above, *row in raw_rows(rows.order_by(table.id)):
            found[above].append(row)
    return found


def _studies(sessions: Sequence[int]) -> dict[int, Facts]:
    """What the first study of some sessions says."""
    columns = (Study.session, Study.study_uid, Study.description, Study.accession, Study.date, Study.time)
    names = ("study uid", "study", "accession", "date", "time", "patient")
    found: dict[int, Facts] = {}
    rows: Any = Study.select(*columns, Study.patient_name).where(is_one_of(Study.session, sessions))
    for session, *values in raw_rows(rows.order_by(Study.id)):
        found.setdefault(session, dict(zip(names, values, strict=True)))
    return found


def _series(acquisitions: Sequence[int]) -> dict[int, Facts]:
    """What the first series of some acquisitions says, and its study."""
    columns = (Series.series_uid, Series.description, Series.number, Series.modality, Series.body_part)
    names = ("series uid", "series", "series number", "modality", "body part", "study uid", "study", "accession")
    more = (Study.study_uid, Study.description, Study.accession, Study.date, Study.time)
    found: dict[int, Facts] = {}
    for some in batched(acquisitions, FILES_PER_PAGE):
        rows: Any = (
            Series.select(Series.acquisition, *columns, *more).join(Study).where(is_one_of(Series.acquisition, some))
        )
        for acquisition, *values in raw_rows(rows.order_by(Series.id)):
            found.setdefault(acquisition, dict(zip((*names, "date", "time"), values, strict=True)))
    return found


def _files(numbers: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What the rows of some live files say."""
    whole = (Instance.file == File.id) & (Instance.member == "")
    other = Instance.alias()
    held = other.select(other.id).where(other.file == File.id, other.state.in_((HELD, SUPERSEDED)))
    rows: Any = (
        File.select(File.id, File.name, Blob.size, Blob.digest, fn.EXISTS(held), File.version)
        .select_extend(File.type, File.origin_type, Instance.number, Instance.sop_uid)
        .join(Blob)
        .switch(File)
        .join(Instance, JOIN.LEFT_OUTER, on=whole)
        .where(is_one_of(File.id, numbers), File.deleted_at.is_null())
    )
    return {row[0]: row[1:] for row in raw_rows(rows)}


_OF_FILE = ("type", "origin", "instance", "sop uid")


def live_files(kind: str, parents: Any) -> Any:
    """Number and size of the live files of some containers, without those that stay here."""
    hidden = Instance.select(Instance.id).where(Instance.file == File.id, Instance.state.in_((HELD, SUPERSEDED)))
    files = File.select(File.id, Blob.size).join(Blob)
    found = files.where(File.parent_type == kind, File.parent_id.in_(parents), File.deleted_at.is_null())
    return found.where(~fn.EXISTS(hidden))


def older_versions(kind: str, parents: Any) -> Any:
    """Number and size of the older versions of the live files of some containers."""
    found = FileVersion.select(FileVersion.id, Blob.size).join(Blob).switch(FileVersion).join(File)
    return found.where(File.parent_type == kind, File.parent_id.in_(parents), File.deleted_at.is_null())


def container_queries(part: ProjectPart) -> Iterable[tuple[str, Any]]:
    """For each kind of container, the query of those that are meant."""
    subjects = Subject.select(Subject.id).where(Subject.project == part.project)
    sessions = Session.select(Session.id).where(Session.subject.in_(subjects))
    if part.level == "subject":
        subjects = Subject.select(Subject.id).where(Subject.id.in_(part.ids))
        sessions = Session.select(Session.id).where(Session.subject.in_(part.ids))
    if part.level == "session":
        sessions = Session.select(Session.id).where(Session.id.in_(part.ids))
    acquisitions = Acquisition.select(Acquisition.id).where(Acquisition.session.in_(sessions))
    levels = (("project", [part.project]), ("subject", subjects), ("session", sessions), ("acquisition", acquisitions))
    begin = ("project", "subject", "session").index(part.level)
    return levels[begin:]
