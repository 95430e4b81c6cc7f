"""Sidecars: beside each object of an export a small JSON document, with which it can be imported again without loss."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any

from peewee import fn

from portal import runtime, site_settings
from portal.access import origins
from portal.jobs.runs import Run
from portal.models import (
    Acquisition,
    Blob,
    File,
    FileVersion,
    Group,
    Instance,
    JobItem,
    Project,
    Session,
    Sidecar,
    Subject,
    batched_writes,
)
from portal.models.compiled import is_one_of, raw_rows
from portal.storage_drivers import object_keys

FORMAT = "portico-sidecar-1"
SUFFIX = ".json"
ITEMS_PER_PAGE = 200
MAX_CACHED_CONTAINERS = 2000
"""Containers whose description is kept for the next objects."""

Document = dict[str, Any]
ContainerKey = tuple[str, int]
_ANCESTORS: dict[str, tuple[Any, ...]] = {
    "project": (Group,),
    "subject": (Project, Group),
    "session": (Subject, Project, Group),
    "acquisition": (Session, Subject, Project, Group),
}
_TABLES: dict[str, Any] = {"project": Project, "subject": Subject, "session": Session, "acquisition": Acquisition}
_LEVELS = ("acquisition", "session", "subject", "project", "group")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "group": ("code",),
    "project": (),
    "subject": ("patient_id", "issuer"),
    "session": ("uid",),
    "acquisition": ("uid",),
}
"""What a sidecar tells of a container besides its label and origin."""


def site_id() -> str:
    """Identifies the site that writes a sidecar: 16 hex digits that follow from its key."""
    return runtime.secrets().digest("site mark", "")[:16]


def plan(run: Run) -> tuple[int, int]:
    """Write an item for the sidecar of each planned object, with its bytes; returns how many, of how many bytes.

    No sidecar gets the key of an object, also where a store ignores case.
    """
    mine = JobItem.job == run.job
    named_alike: Any = JobItem.select(JobItem.key).where(mine & fn.LOWER(JobItem.key).endswith(SUFFIX)).tuples()
    taken = {hash(object_keys.case_folded(row[0])) for row in named_alike.iterator()}
    documents = _Documents()
    number = size = after = 0
    last = JobItem.select(fn.MAX(JobItem.id)).where(mine).scalar() or 0
    writer = batched_writes.BatchWriter()
    while True:
        # Objects that no rule takes get none.
        objects = JobItem.select().where(mine, JobItem.state == "pending", JobItem.id > after, JobItem.id <= last)
        page = list(objects.order_by(JobItem.id).limit(min(writer.rows, ITEMS_PER_PAGE)))
        if not page:
            return number, size
        run.check()
        after = page[-1].id
        contents = documents.for_items(page)
        rows = []
        for item, content in zip(page, contents, strict=True):
            rows.append((item, _free_key(item, taken), content))
        number, size = number + len(rows), size + sum(map(len, contents))
        with writer.writing():
            last_before = JobItem.select(fn.MAX(JobItem.id)).scalar() or 0
            digests = [hashlib.sha256(content).hexdigest() for _item, _key, content in rows]
            JobItem.add(
                (run.job.id, None, key, len(content), digest, "pending", "", False, 0)
                for (_item, key, content), digest in zip(rows, digests, strict=True)
            )
            added = JobItem.select(JobItem.id).where(mine, JobItem.id > last_before).order_by(JobItem.id)
            Sidecar.insert_many(
                {"job": run.job.id, "item": added_id, "of": item.id, "content": zlib.compress(content)}
                for (added_id,), (item, _key, content) in zip(raw_rows(added), rows, strict=True)
            ).execute()
            run.write_within(total=run.job.total + len(rows))


def contents(item_ids: Sequence[int]) -> dict[int, bytes]:
    """The bytes of those items that are sidecars."""
    rows = raw_rows(Sidecar.select(Sidecar.item, Sidecar.content).where(is_one_of(Sidecar.item, item_ids)))
    return {item: zlib.decompress(content) for item, content in rows}


def described_keys(item_ids: Sequence[int]) -> dict[int, str]:
    """The key of the object that each of those items that are sidecars describes."""
    objects = Sidecar.select(Sidecar.item, JobItem.key).join(JobItem, on=Sidecar.of == JobItem.id)
    return dict(raw_rows(objects.where(is_one_of(Sidecar.item, item_ids))))


def delete_contents(run: Run) -> None:
    """Delete the bytes kept here, once every sidecar has arrived."""
    batched_writes.delete(Sidecar, Sidecar.job == run.job.id, check=run.check)


def _free_key(item: JobItem, taken: set[int]) -> str:
    """The key of the sidecar of an object, which no object has; `taken` are the hashes of keys, in one case."""
    folder, slash, name = item.key.rpartition("/")
    segment = object_keys.shorten(name + SUFFIX)
    if segment != name + SUFFIX:  # a shortened name may be that of another sidecar
        segment = object_keys.with_row_number(segment, item.id)
    while hash(object_keys.case_folded(key := f"{folder}{slash}{segment}")) in taken:
        segment = object_keys.with_row_number(segment, item.id)
    return key


class _Documents:
    """Makes the sidecars of page after page of objects; the same bytes for the same rows."""

    def __init__(self) -> None:
        self._containers: dict[ContainerKey, Document] = {}
        self._site = {"id": site_id(), "name": site_settings.get("site.name")}

    def for_items(self, items: Sequence[JobItem]) -> list[bytes]:
        ids = [item.file_id for item in items if item.file_id is not None]
        files = {row.id: row for row in File.select(File, Blob).join(Blob).where(File.id.in_(ids))}
        older = {}
        for item in items:
            file = files.get(item.file_id or 0)
            if file is not None and item.version not in (None, file.version):
                is_version = (FileVersion.file == file) & (FileVersion.version == item.version)
                older[item.id] = FileVersion.get_or_none(is_version)
        self._describe_containers({(row.parent_type, row.parent_id) for row in files.values()})
        owners = [row for row in (*files.values(), *older.values()) if row is not None]
        names = origins.names((row.origin_type, row.origin_id) for row in owners)
        instances = Instance.select(Instance.file, Instance.sop_uid)
        uids = dict(raw_rows(instances.where(Instance.file.in_(list(files)), Instance.member == "")))
        documents = []
        for item in items:
            file = files.get(item.file_id or 0)
            document: Document = {"format": FORMAT, "site": self._site}
            entry: Document = {"size": item.size, "sha256": item.digest}
            if file is not None:
                document |= self._containers.get((file.parent_type, file.parent_id), {})
                entry |= _owned(older.get(item.id) or file, names) | {
                    "name": file.name,
                    "type": file.type,
                    "mimetype": file.mimetype,
                    "version": item.version or file.version,
                    "level": file.parent_type,
                }
                if file.id in uids:
                    entry["sop_instance_uid"] = uids[file.id]
            text = json.dumps(document | {"file": entry}, ensure_ascii=False, indent=1, sort_keys=True)
            documents.append(text.encode(errors="backslashreplace") + b"\n")
        return documents

    def _describe_containers(self, keys: set[ContainerKey]) -> None:
        """Describe containers and all those above them."""
        if len(self._containers) > MAX_CACHED_CONTAINERS:
            self._containers.clear()
        for level, ancestors in _ANCESTORS.items():
            ids = [number for kind, number in keys if kind == level and (kind, number) not in self._containers]
            if not ids:
                continue
            query: Any = _TABLES[level].select(_TABLES[level], *ancestors)
            for table in ancestors:
                query = query.join(table)
            rows = list(query.where(_TABLES[level].id.in_(ids)))
            chains = {}
            for row in rows:
                chain = {level: row}
                for above in _LEVELS[_LEVELS.index(level) + 1 :]:
                    row = chain[above] = getattr(row, above)
                chains[chain[level].id] = chain
            owners = [container for chain in chains.values() for container in chain.values()]
            names = origins.names((owner.origin_type, owner.origin_id) for owner in owners)
            for number, chain in chains.items():
                described: Document = {}
                for name, container in chain.items():
                    described[name] = {"label": container.label} | _owned(container, names)
                    described[name] |= {column: getattr(container, column) for column in _COLUMNS[name]}
                    if name in ("session", "acquisition"):
                        described[name]["timestamp"] = container.timestamp and container.timestamp.isoformat()
                self._containers[level, number] = described


def _owned(row: Any, names: Any) -> Document:
    """Who made a row, with their present name, and when."""
    who = names[row.origin_type, row.origin_id]
    origin = {"type": row.origin_type, "id": row.origin_id, "via": row.origin_via, "name": who.name}
    modified = row.created if isinstance(row, FileVersion) else row.modified
    return {"origin": origin, "received": row.created.isoformat(), "modified": modified.isoformat()}
