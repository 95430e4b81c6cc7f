"""What is downloaded in one go: the files of some containers, as a tar or a zip that is written while it is sent."""

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, NamedTuple, Self

from portal import models
from portal.access import readings
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadValue, Missing
from portal.models import Blob, File
from portal.models.compiled import is_one_of, raw_rows
from portal.storage_drivers import object_keys
from portal.tree import container_sizes, containers, files, walk, zips
from portal.tree.folders import Folder
from portal.tree.project_part import ProjectPart
from portal.tree.walk import Walk, WalkedFile

LEVELS = ("project", "subject", "session", "acquisition")
FORMATS = ("tar", "zip")
MAX_NODES = 1000
MAX_FILES = 200_000
MAX_BYTES = 1 << 40
FILES_PER_PAGE = 500
MAX_FILTERS = 20
MAX_TEXTS = 100
MAX_TEXT_LENGTH = 255


class Node(NamedTuple):
    """A container that is asked for."""

    level: str
    id: int


@dataclass(frozen=True, kw_only=True)
class FileFilter:
    """Which files are wanted: each condition must hold; an empty one always does."""

    types: frozenset[str] = frozenset()
    no_types: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    no_tags: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From `{"types": {"plus": […], "minus": […]}, "tags": {…}}`. Raises BadValue."""
        if not isinstance(value, dict):
            raise BadValue("A filter must be an object.", field="filters")
        parts = {}
        for name in ("types", "tags"):
            part = value.get(name) or {}
            for sign, field in (("plus", name), ("minus", f"no_{name}")):
                texts = (part.get(sign) or []) if isinstance(part, dict) else [None]
                if not isinstance(texts, list) or len(texts) > MAX_TEXTS or not all(map(_is_short, texts)):
                    raise BadValue(
                        f"A filter's {name} has lists of at most {MAX_TEXTS} texts, plus and minus, of at most"
                        f" {MAX_TEXT_LENGTH} characters each.",
                        field="filters",
                    )
                parts[field] = frozenset(texts)
        return cls(**parts)

    def to_json(self) -> dict[str, Any]:
        """What `parse` reads again, without anything else that was sent."""
        return {
            "types": {"plus": sorted(self.types), "minus": sorted(self.no_types)},
            "tags": {"plus": sorted(self.tags), "minus": sorted(self.no_tags)},
        }

    def takes(self, kind: str | None, tags: Sequence[str]) -> bool:
        return (
            (not self.types or kind in self.types)
            and kind not in self.no_types
            and (not self.tags or not self.tags.isdisjoint(tags))
            and self.no_tags.isdisjoint(tags)
        )


class Member(NamedTuple):
    """One file of a download."""

    path: str
    created: datetime
    blob: Blob


@dataclass(frozen=True, kw_only=True)
class Download:
    """The files of some containers; nothing is read before `members`."""

    nodes: tuple[Node, ...]
    filters: tuple[FileFilter, ...]
    prefix: str
    parts: tuple[tuple[str, ProjectPart, frozenset[int]], ...]
    """Folder of the group, part of a project, and the acquisitions that are wanted of it; empty for all."""

    def members(self) -> Iterator[Member]:
        """Each file once, without those that are held or superseded; opens a connection for each page."""
        for page in self._pages():
            with models.connection():
                rows = _rows([file.id for _path, file in page])
            for path, file in page:
                row = rows.get(file.id)  # None for one that was purged since
                if row is not None and self._takes(row[1], row[2]):
                    yield Member(path, row[0], row[3])

    def measure(self) -> tuple[int, int]:
        """Number and bytes of the files. Raises BadValue for more than one download takes, and Missing for none.

        The files that the filters leave out count as well: each is read. No row is made into an object.
        """
        number = size = read = 0
        for page in self._pages():
            read += len(page)
            with models.connection():
                facts = _facts([file.id for _path, file in page]) if self.filters else {}
            for _path, file in page:
                if not self.filters or (file.id in facts and self._takes(*facts[file.id])):
                    number, size = number + 1, size + file.size
            if read > MAX_FILES or size > MAX_BYTES:
                raise BadValue(
                    f"One download takes at most {MAX_FILES:,} files and {MAX_BYTES >> 40} TiB, and as many files are"
                    " filtered. Ask for fewer containers, or export them."
                )
        if not number:
            raise Missing("There are no such files in these containers.")
        return number, size

    def _takes(self, kind: str | None, tags: Sequence[str]) -> bool:
        return not self.filters or any(one.takes(kind, tags) for one in self.filters)

    def _pages(self) -> Iterator[list[tuple[str, WalkedFile]]]:
        walked = self._walked()
        while True:
            with models.connection():
                page = list(islice(walked, FILES_PER_PAGE))
            if not page:
                return
            yield page

    def _walked(self) -> Iterator[tuple[str, WalkedFile]]:
        """Each file once, whichever of the containers it is in."""
        seen: set[int] = set()
        with models.connection():
            newest = walk.newest_file()
        for group, part, acquisitions in self.parts:
            for file in _WalkOfSome(part, newest, acquisitions).files():
                if file.id not in seen:
                    seen.add(file.id)
                    yield "/".join(filter(None, (self.prefix, group, file.path))), file


class _WalkOfSome(Walk):
    """A walk through some acquisitions of its sessions, or through everything where none is named."""

    def __init__(self, part: ProjectPart, last_file: int, acquisitions: frozenset[int]) -> None:
        super().__init__(part, last_file)
        self._acquisitions = acquisitions

    def below(self, subjects: Sequence[Folder]) -> Iterator[Folder]:
        for folder in super().below(subjects):
            if not self._acquisitions or (folder.level == "acquisition" and folder.id in self._acquisitions):
                yield folder


def prepare(
    nodes: Sequence[Node], filters: Sequence[FileFilter] = (), *, prefix: str = "", optional: bool = True, scope: Scope
) -> Download:
    """A download of these containers. Raises BadValue, and Missing for one that the scope does not reach.

    With `optional`, such a one is left out if there is another.
    """
    if len(filters) > MAX_FILTERS:
        raise BadValue(
            f"A download has at most {MAX_FILTERS} filters. Put more types and tags into one.", field="filters"
        )
    if not 1 <= len(nodes) <= MAX_NODES:
        raise BadValue(f"A download is of 1 to {MAX_NODES:,} containers.", field="nodes")
    found: dict[tuple[str, int], dict[str, list[int]]] = {}
    reached: list[Node] = []
    for node in dict.fromkeys(nodes):
        try:
            row = containers.get(node.level, node.id, scope)
        except Missing:
            if optional:
                continue
            raise
        reached.append(node)
        project = containers.project_of(row)
        of_project = found.setdefault(
            (project.group.code, int(project.id)), {name: [] for name in (*LEVELS, "sessions")}
        )
        of_project[node.level].append(node.id)
        if node.level == "acquisition":
            of_project["sessions"].append(row.session_id)  # type: ignore[union-attr]
    if not reached:
        raise Missing("There is none of these containers, or you do not have access to them.")
    parts = tuple(chain.from_iterable(_parts(*key, levels) for key, levels in found.items()))
    for level in LEVELS:
        ids = [node.id for node in reached if node.level == level]
        counted = container_sizes.for_containers(level, ids) if ids else {}
        if any(one.files > MAX_FILES or one.size > MAX_BYTES for one in counted.values()):
            raise BadValue(f"One download takes at most {MAX_FILES:,} files. Ask for smaller containers, or export.")
    folder = "/".join(object_keys.segment(part) for part in prefix.split("/") if part.strip())
    return Download(nodes=tuple(reached), filters=tuple(filters), prefix=folder, parts=parts)


def pack(download: Download, form: str) -> Iterator[bytes]:
    """The tar or the zip. Raises Damaged before the last bytes of a damaged file: it ends there, incomplete."""
    if form == "zip":
        return zips.stream_zip((path, moment, blob.size, _content(blob)) for path, moment, blob in download.members())
    return _stream_tar(download.members())


def record(download: Download, form: str, *, actor: Actor) -> None:
    """Audit a download: an entry for each container, found by each of its sessions."""
    for level, number in download.nodes:
        sessions = readings.sessions_in(level, number)
        readings.record_disclosure(actor, "container:downloaded", level, number, sessions, format=form)


def _parts(group: str, project: int, levels: dict[str, list[int]]) -> Iterable[tuple[str, ProjectPart, frozenset[int]]]:
    folder = object_keys.segment(group)
    if levels["project"]:
        return [(folder, ProjectPart(project=project), frozenset())]
    found: list[tuple[str, ProjectPart, frozenset[int]]] = []
    for level in ("subject", "session"):
        if levels[level]:
            part = ProjectPart(project=project, level=level, ids=tuple(levels[level]))
            found.append((folder, part, frozenset()))
    if levels["acquisition"]:
        part = ProjectPart(project=project, level="session", ids=tuple(dict.fromkeys(levels["sessions"])))
        found.append((folder, part, frozenset(levels["acquisition"])))
    return found


def _rows(numbers: Sequence[int]) -> dict[int, tuple[datetime, str | None, list[str], Blob]]:
    rows = File.select(File.id, File.created, File.type, File.tags, Blob).join(Blob)
    live = rows.where(is_one_of(File.id, numbers), File.deleted_at.is_null())
    return {row.id: (row.created, row.type, row.tags, row.blob) for row in live}


def _facts(numbers: Sequence[int]) -> dict[int, tuple[str | None, list[str]]]:
    """Type and tags of files: unconverted rows, for many thousands."""
    rows = File.select(File.id, File.type, File.tags).where(is_one_of(File.id, numbers), File.deleted_at.is_null())
    return {number: (kind, File.tags.python_value(tags)) for number, kind, tags in raw_rows(rows)}


def _is_short(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_TEXT_LENGTH


def _content(blob: Blob) -> Iterator[bytes]:
    with closing(files.open_blob(blob)[0]) as chunks:
        yield from chunks


def _stream_tar(members: Iterable[Member]) -> Iterator[bytes]:
    size = 0
    for member in members:
        info = tarfile.TarInfo(member.path)
        info.size, info.mode = member.blob.size, 0o600
        info.mtime = int(member.created.astimezone(UTC).timestamp())
        head = info.tobuf(tarfile.PAX_FORMAT)
        yield head
        yield from _content(member.blob)
        yield bytes(-member.blob.size % tarfile.BLOCKSIZE)
        size += len(head) + member.blob.size + -member.blob.size % tarfile.BLOCKSIZE
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(size + end) % tarfile.RECORDSIZE)
