"""The import of one object: read from the storage, checked, placed, and handed to the ingest."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from portal.access import rights
from portal.access.actors import NOTHING_RECORDED, Actor, ActorType, Origin
from portal.errors import Damaged, Missing, NotDicom, PortalError
from portal.exports.manifest_reader import Entry
from portal.imports import path_template, plan, recorded_metadata, targets
from portal.imports.params import ImportParams, ImportPlan
from portal.imports.recorded_metadata import Columns, Document
from portal.ingest import incoming as ingest
from portal.ingest.placement import Placement
from portal.jobs import item_failures, item_row
from portal.jobs.item_failures import Outcome
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check
from portal.models import Job, JobItem

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

NOT_INDEXABLE = "Not a DICOM object that can be indexed, so no header says where it belongs."
NO_LONGER_LISTED = "It was listed, but no longer exists."
SIZE_CHANGED = "It has changed since it was listed. Import again."
DIGEST_DIFFERS = "Its bytes are not those that the manifest records. Nothing of it was imported."


@dataclass(frozen=True, kw_only=True)
class Task:
    """One object, and its entry in the manifest."""

    item: Item
    entry: Entry | None = None
    sidecar: JobItem | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where an object would go."""

    origin: Origin
    document: Document | None
    containers: tuple[tuple[str, Columns], ...] | None
    """None: its header decides."""
    name: str | None

    @property
    def is_recorded(self) -> bool:
        """Whether a sidecar records its containers: it returns to them, even if it is also elsewhere."""
        return self.document is not None and bool(self.document.containers)


def tasks(job: Job) -> Iterator[Task]:
    """The unfinished objects of an import, read page by page."""
    params = ImportParams.load(job.params)
    for page in item_row.unfinished_pages(job):
        entries = plan.manifest_entries([item.id for item in page]) if params.by == "manifest" else {}
        for item in page:
            entry, sidecar = entries.get(item.id, (None, None))
            yield Task(item=item, entry=entry, sidecar=sidecar)


class Importer:
    """Imports objects; used by several threads at once."""

    def __init__(self, job: Job, destination: "Destination") -> None:
        self._params = params = ImportParams.load(job.params)
        self._signed = [manifest.signed for manifest in ImportPlan.load(job.result).manifests]
        self._destination = destination
        self._project = params.project_id
        via = f"import {job.id} from {params.storage_label}"
        self._origin = Origin(type=cast(ActorType, job.origin_type), id=job.origin_id, via=via)
        actor = Actor(type="job", id=str(job.id), name=f"import {job.id}", is_admin=True)
        self._scope = rights.scope(actor, project=self._project)
        if not self._scope.writes(self._project):
            raise Missing(f"The project {params.path} no longer exists.")
        template = params.template or path_template.EXPORTED_PATH
        self._template = None if params.by == "headers" else path_template.parse(template)

    def attempt(self, task: Task, check: Check) -> list[Outcome]:
        """Import one object; its item records the outcome and the file."""
        item = task.item
        try:
            document = self._document(task)
            with ingest.open(
                scope=self._scope,
                origin=document.origin if document else self._origin,
                placement=Placement(called_project=self._project),
                only_dicom=self._template is None,
                recorded=document.recorded if document else NOTHING_RECORDED,
            ) as incoming:
                for chunk in self._destination.read(item.key):
                    check()
                    incoming.write(chunk)
                    if incoming.size > item.size:
                        raise Damaged(SIZE_CHANGED)
                # The bytes must be those that were listed, and those that a manifest or a sidecar records.
                if {item.digest, document.digest if document else ""} - {"", incoming.digest}:
                    raise Damaged(DIGEST_DIFFERS)
                if incoming.size != item.size:
                    raise Damaged(SIZE_CHANGED)
                target = self.target(task, is_dicom=incoming.is_dicom)
                if target.containers is not None:
                    kind, number = targets.find_or_create(self._project, target.containers)
                    name, also_here = target.name, target.is_recorded
                    incoming.place(Placement(container_type=kind, container_id=number, name=name, also_here=also_here))
                stored = incoming.commit()
        except NotDicom as error:
            return [item_failures.note_error(item, NotDicom(f"{NOT_INDEXABLE} {error.message}"))]
        except Missing as error:
            return [item_failures.note_error(item, Missing(f"{NO_LONGER_LISTED} {error.message}"))]
        except PortalError as error:
            return [item_failures.note_error(item, error)]
        item.state, item.message = stored.outcome, stored.message
        item.file_id, item.digest, item.size = stored.file_id or None, stored.digest, stored.size
        return [(item, None)]

    def target(self, task: Task, *, is_dicom: Callable[[], bool]) -> Target:
        """Where an object would go. Raises BadValue if its path or its sidecar is invalid."""
        document = self._document(task)
        origin = document.origin if document else self._origin
        if document and document.name:
            return Target(origin=origin, document=document, containers=document.containers, name=document.name)
        if self._template is None or (self._params.by == "manifest" and is_dicom()):
            return Target(origin=origin, document=document, containers=None, name=None)

        prefix = self._params.prefix
        folder = f"{prefix}/" if prefix else ""
        path = str(task.entry["below"]) if task.entry is not None else task.item.key.removeprefix(folder)
        parsed = self._template.match(path)
        return Target(
            origin=origin,
            document=document,
            containers=targets.from_labels(parsed.labels, origin),
            name=(document and document.name_of_file) or parsed.name,
        )

    def _document(self, task: Task) -> Document | None:
        """What is recorded of an object, by its sidecar or else by the manifest."""
        if task.entry is None:
            return None
        signed = self._signed[task.entry["manifest"]]
        sidecar = task.sidecar
        if sidecar is None:
            return recorded_metadata.from_manifest_entry(task.entry, signed=signed)
        length = min(sidecar.size, recorded_metadata.MAX_SIDECAR_BYTES)
        content = b"".join(self._destination.read(sidecar.key, 0, length))
        if hashlib.sha256(content).hexdigest() != sidecar.digest:
            raise Damaged("The bytes of its sidecar are not those that the manifest records. Nothing was imported.")
        return recorded_metadata.from_sidecar(content, signed=signed)
