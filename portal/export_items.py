"""The snapshot of an export: each object that is to be copied, as a row with key, size and digest."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal.models import (
    HELD,
    SUPERSEDED,
    Acquisition,
    Blob,
    File,
    Instance,
    JobItem,
    Project,
    Session,
    Subject,
    writing,
)
from portal.runs import Run
from portal.storage import keys

CHUNK = 250
"""Rows a write: some 20 ms, so that C-STOREs go on meanwhile."""
PAGE = 200
MANIFESTS = "manifests"
"""The folder of the manifests: no project's objects go there."""


@dataclass(frozen=True)
class _Entry:
    key: str
    file_id: int
    size: int
    digest: str


@dataclass(frozen=True)
class _File:
    id: int
    parent_id: int
    name: str
    size: int
    digest: str
    hidden: bool


class Names:
    """The segments that are given out within one folder, each once, also where a store ignores case."""

    def __init__(self, *reserved: str) -> None:
        self._given = {keys.folded(name) for name in reserved}

    def give(self, label: str, number: int) -> str:
        """The label as a segment. Of those that would collide the first keeps it, the others get their row's number."""
        segment = keys.segment(label)
        while keys.folded(segment) in self._given:
            segment = keys.told_apart(segment, number)
        self._given.add(keys.folded(segment))
        return segment


def count(project_id: int) -> tuple[int, int]:
    """How many objects of how many bytes an export would have now."""
    totals = [_total(kind, parents) for kind, parents in _parents(project_id)]
    return sum(number for number, _size in totals), sum(size for _number, size in totals)


def plan(run: Run) -> None:
    """Write the items, unless that is done; begun anew where a run was killed in the middle, for no byte has moved yet.

    Files that came after the start (`last_file`) are not among them, nor what is held for a conflict or superseded.
    """
    if run.job.result.get("planned"):
        return
    _drop(run)
    snapshot = _Snapshot(run.job.params["project"], run.job.params["last_file"])
    size = number = 0
    for chunk in _chunks(snapshot.entries()):
        run.check()
        number, size = number + len(chunk), size + sum(entry.size for entry in chunk)
        with writing():
            JobItem.insert_many([_row(run.job.id, entry) for entry in chunk]).execute()
            run.write_within(total=number)
    result = {**run.job.result, "planned": True, "bytes": size, "held_back": snapshot.hidden}
    run.write(total=number, result=result)


def of_session(session_id: int, label: str) -> list[tuple[str, int]]:
    """Key and file number of each object of a session as it is now, as an export would have them, below its label."""
    newest = File.select(fn.MAX(File.id)).scalar() or 0
    entries = _Snapshot(0, newest)._session(keys.segment(label), session_id)
    return [(entry.key, entry.file_id) for entry in entries]


class _Snapshot:
    """One walk through a project's tree; `hidden` counts what it passed over."""

    def __init__(self, project_id: int, last_file: int) -> None:
        self._project_id = project_id
        self._last_file = last_file
        self.hidden = 0

    def entries(self) -> Iterator[_Entry]:
        top = _project_segment(self._project_id)
        names = Names()
        after = 0
        while subjects := _page(Subject, Subject.project == self._project_id, after):
            after = subjects[-1][0]
            for subject_id, label in subjects:
                yield from self._subject(f"{top}/{names.give(label, subject_id)}", subject_id)
        yield from self._files("project", self._project_id, top, names)

    def _subject(self, above: str, subject_id: int) -> Iterator[_Entry]:
        names = Names()
        for session_id, label in _children(Session, Session.subject == subject_id):
            yield from self._session(f"{above}/{names.give(label, session_id)}", session_id)
        yield from self._files("subject", subject_id, above, names)

    def _session(self, above: str, session_id: int) -> Iterator[_Entry]:
        names = Names()
        acquisitions = _children(Acquisition, Acquisition.session == session_id)
        files = self._found("acquisition", [number for number, _label in acquisitions])
        for acquisition_id, label in acquisitions:
            folder = f"{above}/{names.give(label, acquisition_id)}"
            yield from _named(folder, files[acquisition_id], Names())
        yield from self._files("session", session_id, above, names)

    def _files(self, kind: str, parent_id: int, above: str, names: Names) -> Iterator[_Entry]:
        return _named(above, self._found(kind, [parent_id])[parent_id], names)

    def _found(self, kind: str, parents: list[int]) -> dict[int, list[_File]]:
        """The live files of some containers, each in the order of the rows."""
        found: dict[int, list[_File]] = defaultdict(list)
        for start in range(0, len(parents), CHUNK):
            rows = _live(kind, File.parent_id.in_(parents[start : start + CHUNK])).where(File.id <= self._last_file)
            for row in rows.order_by(File.id).tuples():
                file = _File(*row)
                self.hidden += file.hidden
                if not file.hidden:
                    found[file.parent_id].append(file)
        return found


def _live(kind: str, parents: Any) -> Any:
    hidden = Instance.select(Instance.id).where(Instance.file == File.id, Instance.state.in_((HELD, SUPERSEDED)))
    columns = (File.id, File.parent_id, File.name, Blob.size, Blob.digest, fn.EXISTS(hidden))
    return File.select(*columns).join(Blob).where(File.parent_type == kind, parents, File.deleted_at.is_null())


def _total(kind: str, parents: Any) -> tuple[int, int]:
    hidden = Instance.select(Instance.id).where(Instance.file == File.id, Instance.state.in_((HELD, SUPERSEDED)))
    files = File.select(fn.COUNT(File.id), fn.SUM(Blob.size)).join(Blob)
    live = files.where(File.parent_type == kind, File.parent_id.in_(parents), File.deleted_at.is_null())
    row: Any = live.where(~fn.EXISTS(hidden)).tuples().get()
    return int(row[0]), int(row[1] or 0)


def _parents(project_id: int) -> Iterable[tuple[str, Any]]:
    """For each kind of container, the query of those of this project."""
    subjects = Subject.select(Subject.id).where(Subject.project == project_id)
    sessions = Session.select(Session.id).where(Session.subject.in_(subjects))
    acquisitions = Acquisition.select(Acquisition.id).where(Acquisition.session.in_(sessions))
    return ("project", [project_id]), ("subject", subjects), ("session", sessions), ("acquisition", acquisitions)


def _project_segment(project_id: int) -> str:
    """The project's folder: the same one in each export, also beside projects of that name in other groups."""
    names = Names(MANIFESTS)
    for project in Project.select(Project.id, Project.label).order_by(Project.id):
        segment = names.give(project.label, project.id)
        if project.id == project_id:
            return segment
    return names.give("project", project_id)


def _page(table: type[Subject], belongs: Any, after: int) -> list[tuple[int, str]]:
    rows = table.select(table.id, table.label).where(belongs, table.id > after).order_by(table.id).limit(PAGE)
    return [(row.id, row.label) for row in rows]


def _children(table: type[Session] | type[Acquisition], belongs: Any) -> list[tuple[int, str]]:
    return [(row.id, row.label) for row in table.select(table.id, table.label).where(belongs).order_by(table.id)]


def _named(folder: str, files: Iterable[_File], names: Names) -> Iterator[_Entry]:
    for file in files:
        yield _Entry(f"{folder}/{names.give(file.name, file.id)}", file.id, file.size, file.digest)


def _chunks(entries: Iterator[_Entry]) -> Iterator[list[_Entry]]:
    chunk: list[_Entry] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _row(job_id: int, entry: _Entry) -> dict[str, Any]:
    return {
        "job": job_id,
        "file": entry.file_id,
        "key": entry.key,
        "size": entry.size,
        "digest": entry.digest,
    }


def _drop(run: Run) -> None:
    """Take away, in short writes, what a killed run has planned."""
    while True:
        some = JobItem.select(JobItem.id).where(JobItem.job == run.job).limit(CHUNK)
        with writing():
            gone = JobItem.delete().where(JobItem.id.in_(some)).execute()
        if not gone:
            return
