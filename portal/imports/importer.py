"""Taking one object of an import in: read there, checked, placed, and handed to the one door."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from portal.access import rights
from portal.access.actors import NOTHING_RECORDED, Actor, ActorType, Origin
from portal.errors import Damaged, Missing, NotDicom, PortalError
from portal.exports.manifest_reader import Entry
from portal.imports import path_template, plan, recorded_metadata, targets
from portal.imports.path_template import Template
from portal.imports.recorded_metadata import Columns, Document
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Incoming
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.jobs import item_failures, item_runner
from portal.jobs.item_failures import Outcome
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check
from portal.models import Job, JobItem

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

NOT_INDEXABLE = "It is no DICOM object that can be indexed, and only such say by themselves where they belong."
NO_LONGER_LISTED = "It was listed, and is no longer there."
SIZE_CHANGED = "It has changed since it was listed. Import again."
DIGEST_DIFFERS = "Its bytes are not those that the manifest names. Nothing of it was taken in."


@dataclass(frozen=True, kw_only=True)
class Task:
    """One object, and what the manifest says of it."""

    item: Item
    entry: Entry | None = None
    beside: JobItem | None = None
    """The item of its sidecar."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where an object would go."""

    origin: Origin
    document: Document | None
    containers: tuple[tuple[str, Columns], ...] | None
    """None: where its header says."""
    name: str | None

    @property
    def is_recorded(self) -> bool:
        """Whether a sidecar says where it stood: there it comes back, also if it stands elsewhere too."""
        return self.document is not None and bool(self.document.containers)


def tasks(job: Job) -> Iterator[Task]:
    """What is left of an import, page by page."""
    for page in item_runner.unfinished_pages(job):
        told = plan.manifest_entries([item.id for item in page]) if job.params["by"] == "manifest" else {}
        for item in page:
            entry, beside = told.get(item.id, (None, None))
            yield Task(item=item, entry=entry, beside=beside)


class Importer:
    """Takes objects in; used by several threads at once."""

    def __init__(self, job: Job, destination: "Destination") -> None:
        self._params = job.params
        self._signed = [manifest["signed"] for manifest in job.result.get("manifests", ())]
        self._destination = destination
        self._project: int = job.params["project"]
        self._origin = Origin(
            type=cast(ActorType, job.origin_type), id=job.origin_id, via=f"import {job.id} from {job.params['of']}"
        )
        actor = Actor(type="job", id=str(job.id), name=f"import {job.id}", is_admin=True)
        self._scope = rights.scope(actor, project=self._project)
        if not self._scope.writes(self._project):
            raise Missing(f"The project {job.params['path']} is gone.")
        self._template = _template(job)

    def attempt(self, task: Task, check: Check) -> list[Outcome]:
        """Take one object in; its item says how that ended, and which file it is."""
        item = task.item
        try:
            stored = self._take(task, check)
        except PortalError as error:
            return [item_failures.note_error(item, _in_words(error))]
        item.state, item.message = stored.outcome, stored.message
        item.file_id, item.digest, item.size = stored.file_id or None, stored.digest, stored.size
        return [(item, None)]

    def target(self, task: Task, *, is_dicom: Callable[[], bool]) -> Target:
        """Where an object would go. Raises BadValue where its path or its sidecar says what cannot be."""
        document = self._document(task)
        origin = document.origin if document else self._origin
        if document and document.name:
            return Target(origin=origin, document=document, containers=document.containers, name=document.name)
        if self._template is None or (self._params["by"] == "manifest" and is_dicom()):
            return Target(origin=origin, document=document, containers=None, name=None)
        where = self._template.where(self._below(task))
        return Target(
            origin=origin,
            document=document,
            containers=targets.from_labels(where.labels, origin),
            name=(document and document.name_of_file) or where.name,
        )

    def _take(self, task: Task, check: Check) -> Stored:
        document = self._document(task)
        with ingest.open(
            scope=self._scope,
            origin=document.origin if document else self._origin,
            placement=Placement(called_project=self._project),
            only_dicom=self._template is None,
            recorded=document.recorded if document else NOTHING_RECORDED,
        ) as incoming:
            for chunk in self._destination.read(task.item.key):
                check()
                incoming.write(chunk)
                if incoming.size > task.item.size:
                    raise Damaged(SIZE_CHANGED)
            _require_same(task.item, incoming, document)
            target = self.target(task, is_dicom=incoming.is_dicom)
            if target.containers is not None:
                kind, number = targets.find_or_create(self._project, target.containers)
                wanted = Placement(
                    container_type=kind, container_id=number, name=target.name, also_here=target.is_recorded
                )
                incoming.place(wanted)
            return incoming.commit()

    def _document(self, task: Task) -> Document | None:
        """What is recorded of an object, by its sidecar or else by the manifest."""
        if task.entry is None:
            return None
        signed = self._signed[task.entry["manifest"]]
        if task.beside is None:
            return recorded_metadata.from_manifest_entry(task.entry, signed=signed)
        beside = task.beside
        content = b"".join(self._destination.read(beside.key, 0, min(beside.size, recorded_metadata.MAX_SIDECAR_BYTES)))
        if hashlib.sha256(content).hexdigest() != beside.digest:
            raise Damaged("The bytes of its sidecar are not those that the manifest names. Nothing was taken in.")
        return recorded_metadata.from_sidecar(content, signed=signed)

    def _below(self, task: Task) -> str:
        """The path that the template is about."""
        if task.entry is not None:
            return str(task.entry["below"])
        prefix: str = self._params["prefix"]
        return str(task.item.key.removeprefix(f"{prefix}/" if prefix else ""))


def _template(job: Job) -> Template | None:
    """How paths are read; None where only headers count."""
    if job.params["by"] == "headers":
        return None
    return path_template.parse(job.params["template"] or path_template.EXPORTED_PATH)


def _require_same(item: Item, incoming: Incoming, document: Document | None) -> None:
    """Raise Damaged unless the bytes are those that were listed, and that a manifest or sidecar names."""
    named = [digest for digest in (item.digest, document.digest if document else "") if digest]
    if any(digest != incoming.digest for digest in named):
        raise Damaged(DIGEST_DIFFERS)
    if incoming.size != item.size:
        raise Damaged(SIZE_CHANGED)


def _in_words(error: PortalError) -> PortalError:
    if isinstance(error, NotDicom):
        return NotDicom(f"{NOT_INDEXABLE} {error.message}")
    if isinstance(error, Missing):
        return Missing(f"{NO_LONGER_LISTED} {error.message}")
    return error
