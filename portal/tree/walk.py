"""A walk through a part of a project: each live file with its usual path, and what is known of it."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from peewee import JOIN, fn

from portal.models import Blob, File, Instance, Session, Subject
from portal.models.compiled import is_one_of, raw_rows
from portal.models.index import is_held_back
from portal.storage_drivers import object_keys
from portal.tree import folders, versions
from portal.tree.batches import batched
from portal.tree.folders import CONTAINERS_PER_PAGE, Facts, Folder
from portal.tree.project_part import ProjectPart

FILES_PER_PAGE = 500
"""Files whose rows are read at once; of a page of containers only the row numbers of the files are read."""
_DETAILS = ("type", "origin", "instance", "sop uid")


class WalkedFile(NamedTuple):
    """One file that an export may take; `path` is its key unless the export has a template."""

    id: int
    name: str
    path: str
    size: int
    digest: str
    folder: Folder
    details: tuple[str | None, ...]
    version: int = 1
    is_older: bool = False
    """Whether it is a version before the file's newest."""
    member: str | None = None
    """The name of one object of a zip, for a peer, which takes single objects."""

    def key(self, path: str) -> str:
        """The path that a template gives to the file, with the number of an older version."""
        if not self.is_older:
            return path
        folder, slash, name = path.rpartition("/")
        return f"{folder}{slash}{object_keys.versioned(name, self.version)}"

    @property
    def facts(self) -> Facts:
        details = {name: value or "" for name, value in zip(_DETAILS, self.details, strict=True)}
        size, level = str(self.size), self.folder.level
        return {**self.folder.facts, **details, "file": self.name, "size": size, "level": level}


class Walk:
    """Through a part of a project, always in the same order; no row is read before it is needed.

    Left out are files that came after `last_file`, and objects that are held or superseded, which `hidden` counts.
    `to_peer`: a zip is not left out for one of its members, since those go alone. `with_versions`: the older versions
    of a container's files come after all of these, so that the files have the same names as without versions.
    """

    def __init__(
        self, part: ProjectPart, last_file: int, *, with_versions: bool = False, to_peer: bool = False
    ) -> None:
        self._to_peer = to_peer
        self._part = part
        self._last_file = last_file
        self._with_versions = with_versions and versions.any_exist()
        self.hidden = 0

    def files(self) -> Iterator[WalkedFile]:
        project = folders.of_project(self._part.project)
        selected = self._selected_subjects()
        rows: Any = Subject.select(Subject.id, Subject.label, Subject.patient_id)
        rows = rows.where(Subject.project == self._part.project).order_by(Subject.id).limit(CONTAINERS_PER_PAGE)
        after = 0
        while page := raw_rows(rows.where(Subject.id > after)):
            after = page[-1][0]
            # All subjects are given a name, so that it does not depend on which of them are selected.
            subjects = [folders.of_subject(project, *row) for row in page]
            wanted = [subject for subject in subjects if selected is None or subject.id in selected]
            yield from self.files_in(self.below(wanted))
        if self._part.level == "project":
            yield from self.files_in([project])

    def below(self, subjects: Sequence[Folder]) -> Iterator[Folder]:
        """The selected containers of some subjects, each after those in it."""
        return folders.below(subjects, set(self._part.ids) if self._part.level == "session" else None)

    def files_in(self, containers: Iterable[Folder]) -> Iterator[WalkedFile]:
        """The files directly in some containers, one container after the other."""
        for batch in batched(containers, CONTAINERS_PER_PAGE):
            numbers: dict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))
            for level in dict.fromkeys(folder.level for folder in batch):
                ids = [folder.id for folder in batch if folder.level == level]
                rows: Any = File.select(File.parent_id, File.id).where(
                    File.parent_type == level, is_one_of(File.parent_id, ids), File.deleted_at.is_null()
                )
                for parent, number in raw_rows(rows):
                    if number <= self._last_file:
                        numbers[level, parent].append(number)
            in_order = {place: array("q", sorted(unsorted)) for place, unsorted in numbers.items()}
            yield from self.files_by_number(batch, in_order)

    def files_by_number(
        self, containers: Sequence[Folder], numbers: dict[tuple[str, int], "array[int]"]
    ) -> Iterator[WalkedFile]:
        """Files of some containers; `numbers` are their row numbers by level and number of the container."""
        pairs = ((folder, number) for folder in containers for number in numbers.get((folder.level, folder.id), ()))
        older_files: list[WalkedFile] = []
        for batch in batched(pairs, FILES_PER_PAGE):
            ids = [number for _folder, number in batch]
            rows, older = self._rows_of(ids), versions.older(ids) if self._with_versions else {}
            for folder, number in batch:
                if older_files and older_files[0].folder is not folder:
                    yield from _with_names(older_files)
                    older_files.clear()
                row = rows.get(number)
                if row is None:
                    continue
                name, size, digest, hidden, version, *details = row
                self.hidden += hidden
                if not hidden:
                    path = f"{folder.path}/{folder.names.give(name, number)}"
                    file = WalkedFile(number, name, path, size, digest, folder, tuple(details), version)
                    yield file
                    kind, _origin, *rest = details
                    for one in older.get(number, ()):
                        own = (kind, one.origin_type, *rest)
                        older_files.append(
                            file._replace(
                                size=one.size, digest=one.digest, details=own, version=one.number, is_older=True
                            )
                        )
        yield from _with_names(older_files)

    def _rows_of(self, numbers: Sequence[int]) -> dict[int, tuple[Any, ...]]:
        """By row number of a live file: name, size, digest, whether it is hidden, version, and the details."""
        whole = (Instance.file == File.id) & (Instance.member == "")
        other = Instance.alias()
        held = is_held_back(other)
        if self._to_peer:
            held = held & (other.member == "")
        hidden = other.select(other.id).where(other.file == File.id, held)
        rows: Any = (
            File.select(File.id, File.name, Blob.size, Blob.digest, fn.EXISTS(hidden), File.version)
            .select_extend(File.type, File.origin_type, Instance.number, Instance.sop_uid)
            .join(Blob)
            .switch(File)
            .join(Instance, JOIN.LEFT_OUTER, on=whole)
            .where(is_one_of(File.id, numbers), File.deleted_at.is_null())
        )
        return {row[0]: row[1:] for row in raw_rows(rows)}

    def _selected_subjects(self) -> set[int] | None:
        """Row numbers of the subjects that have something selected; None for all."""
        if self._part.level == "project":
            return None
        if self._part.level == "subject":
            return set(self._part.ids)
        subjects: set[int] = set()
        for batch in batched(self._part.ids, FILES_PER_PAGE):
            subjects.update(row.subject_id for row in Session.select(Session.subject).where(Session.id.in_(batch)))
        return subjects


def _with_names(older_files: Sequence[WalkedFile]) -> Iterator[WalkedFile]:
    """Older versions, with the names that are free once all files of their folder have theirs."""
    for file in older_files:
        segment = file.folder.names.give(object_keys.versioned(file.name, file.version), file.id)
        yield file._replace(path=f"{file.folder.path}/{segment}")


def newest_file() -> int:
    """The row number of the newest file: where a walk of what there is now ends."""
    return File.select(fn.MAX(File.id)).scalar() or 0


def session_keys(session_id: int, label: str) -> list[tuple[str, int]]:
    """Key and row number of each file of a session at present, as an export would have them, below its label."""
    walk = Walk(ProjectPart(project=0), newest_file())
    return [(file.path, file.id) for file in walk.files_in(folders.of_session(session_id, label))]
