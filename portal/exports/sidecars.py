"""Sidecars: beside each object of an export a small document, enough to take the object in again with nothing lost."""

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
"""Containers of which the documents so far have told."""

Document = dict[str, Any]
ContainerKey = tuple[str, int]
_ABOVE: dict[str, tuple[Any, ...]] = {
    "project": (Group,),
    "subject": (Project, Group),
    "session": (Subject, Project, Group),
    "acquisition": (Session, Subject, Project, Group),
}
_TABLES: dict[str, Any] = {"project": Project, "subject": Subject, "session": Session, "acquisition": Acquisition}


def site_id() -> str:
    """Which site writes, for itself and for others to tell: 16 hex digits that follow from its key."""
    return runtime.secrets().digest("site mark", "")[:16]


def plan(run: Run) -> tuple[int, int]:
    """Write an item for the document of each planned object, with its bytes; returns how many, of how many bytes.

    No key of them is one of the objects, also where a store ignores case.
    """
    job_id = run.job.id
    taken = _taken(job_id)
    documents = _Documents()
    number = size = after = 0
    last = JobItem.select(fn.MAX(JobItem.id)).where(JobItem.job == job_id).scalar() or 0
    spell = batched_writes.BatchWriter()
    while page := _objects(job_id, after, last, min(spell.rows, ITEMS_PER_PAGE)):
        run.check()
        after = page[-1].id
        told = documents.of(page)
        rows = [(item, _beside(item, taken), content) for item, content in zip(page, told, strict=True)]
        number, size = number + len(rows), size + sum(len(content) for content in told)
        with spell.writing():
            _add(job_id, rows)
            run.write_within(total=run.job.total + len(rows))
    return number, size


def contents(item_ids: Sequence[int]) -> dict[int, bytes]:
    """The bytes of those of some items that are documents."""
    rows = raw_rows(Sidecar.select(Sidecar.item, Sidecar.content).where(is_one_of(Sidecar.item, item_ids)))
    return {item: zlib.decompress(content) for item, content in rows}


def described_keys(item_ids: Sequence[int]) -> dict[int, str]:
    """The key of the object beside which each of some documents lies."""
    found = Sidecar.select(Sidecar.item, JobItem.key).join(JobItem, on=Sidecar.of == JobItem.id)
    return dict(raw_rows(found.where(is_one_of(Sidecar.item, item_ids))))


def delete_contents(run: Run) -> None:
    """Forget the bytes once every one of them has arrived."""
    batched_writes.delete(Sidecar, Sidecar.job == run.job.id, check=run.check)


def _taken(job_id: int) -> set[int]:
    """The keys of objects that a document could have too."""
    mine = (JobItem.job == job_id) & fn.LOWER(JobItem.key).endswith(SUFFIX)
    found: Any = JobItem.select(JobItem.key).where(mine).tuples()
    return {hash(object_keys.case_folded(row[0])) for row in found.iterator()}


def _objects(job_id: int, after: int, last: int, limit: int) -> list[JobItem]:
    """Planned objects; what no rule takes gets no document."""
    wanted = (JobItem.job == job_id) & (JobItem.state == "pending") & (JobItem.id > after) & (JobItem.id <= last)
    return list(JobItem.select().where(wanted).order_by(JobItem.id).limit(limit))


def _beside(item: JobItem, taken: set[int]) -> str:
    folder, slash, name = item.key.rpartition("/")
    segment = object_keys.shorten(name + SUFFIX)
    if segment != name + SUFFIX:  # it was cut, and may be that of another one
        segment = object_keys.with_row_number(segment, item.id)
    while hash(object_keys.case_folded(key := f"{folder}{slash}{segment}")) in taken:
        segment = object_keys.with_row_number(segment, item.id)
    return key


def _add(job_id: int, rows: Sequence[tuple[JobItem, str, bytes]]) -> None:
    """Items of the documents, and their bytes, inside the caller's write block."""
    last = JobItem.select(fn.MAX(JobItem.id)).scalar() or 0
    digests = [hashlib.sha256(content).hexdigest() for _item, _key, content in rows]
    JobItem.add(
        (job_id, None, key, len(content), digest, "pending", "", False, 0)
        for (_item, key, content), digest in zip(rows, digests, strict=True)
    )
    added = raw_rows(JobItem.select(JobItem.id).where(JobItem.id > last, JobItem.job == job_id).order_by(JobItem.id))
    Sidecar.insert_many(
        {"job": job_id, "item": number, "of": item.id, "content": zlib.compress(content)}
        for (number,), (item, _key, content) in zip(added, rows, strict=True)
    ).execute()


class _Documents:
    """Makes the documents of one object after the other; the same bytes for the same rows."""

    def __init__(self) -> None:
        self._places: dict[ContainerKey, Document] = {}
        self._site = {"id": site_id(), "name": site_settings.get("site.name")}

    def of(self, items: Sequence[JobItem]) -> list[bytes]:
        files = {row.id: row for row in _files([item.file_id for item in items if item.file_id is not None])}
        versions = {item.id: _version(item, files.get(item.file_id or 0)) for item in items}
        self._learn({(row.parent_type, row.parent_id) for row in files.values()})
        owners = [row for row in (*files.values(), *versions.values()) if row is not None]
        names = origins.names((row.origin_type, row.origin_id) for row in owners)
        uids = _sop_instance_uids(list(files))
        return [self._document(item, files.get(item.file_id or 0), versions[item.id], names, uids) for item in items]

    def _document(self, item: JobItem, file: File | None, older: Any, names: Any, uids: dict[int, str]) -> bytes:
        told: Document = {"format": FORMAT, "site": self._site}
        entry: Document = {"size": item.size, "sha256": item.digest}
        if file is not None:
            told |= self._places.get((file.parent_type, file.parent_id), {})
            entry |= _owned(older or file, names) | {
                "name": file.name,
                "type": file.type,
                "mimetype": file.mimetype,
                "version": item.version or file.version,
                "level": file.parent_type,
            }
            if file.id in uids:
                entry["sop_instance_uid"] = uids[file.id]
        text = json.dumps(told | {"file": entry}, ensure_ascii=False, indent=1, sort_keys=True)
        return text.encode(errors="backslashreplace") + b"\n"

    def _learn(self, places: set[ContainerKey]) -> None:
        """What is told of some containers and of all those above them."""
        if len(self._places) > MAX_CACHED_CONTAINERS:
            self._places.clear()
        for level, above in _ABOVE.items():
            ids = [number for kind, number in places if kind == level and (kind, number) not in self._places]
            if not ids:
                continue
            query: Any = _TABLES[level].select(_TABLES[level], *above)
            for table in above:
                query = query.join(table)
            rows = list(query.where(_TABLES[level].id.in_(ids)))
            chains = {row.id: _chain(row, level) for row in rows}
            owners = [one for chain in chains.values() for one in chain.values()]
            names = origins.names((one.origin_type, one.origin_id) for one in owners)
            for number, chain in chains.items():
                told = {name: _container(name, one, names) for name, one in chain.items()}
                self._places[level, number] = told


def _chain(row: Any, level: str) -> dict[str, Any]:
    """A container with those above it, by their kinds."""
    order = ("acquisition", "session", "subject", "project", "group")
    chain: dict[str, Any] = {}
    for kind, above in zip(order, (*order[1:], ""), strict=True):
        if kind == level or chain:
            chain[kind] = row
            row = getattr(row, above) if above else None
    return chain


def _container(kind: str, row: Any, names: Any) -> Document:
    told = {"label": row.label} | _owned(row, names)
    if kind == "group":
        told["code"] = row.code
    if kind == "subject":
        told |= {"patient_id": row.patient_id, "issuer": row.issuer}
    if kind in ("session", "acquisition"):
        told |= {"uid": row.uid, "timestamp": row.timestamp and row.timestamp.isoformat()}
    return told


def _owned(row: Any, names: Any) -> Document:
    """Who made a row, with the name of today, and when."""
    who = names[row.origin_type, row.origin_id]
    origin = {"type": row.origin_type, "id": row.origin_id, "via": row.origin_via, "name": who.name}
    modified = row.created if isinstance(row, FileVersion) else row.modified
    return {"origin": origin, "received": row.created.isoformat(), "modified": modified.isoformat()}


def _version(item: JobItem, file: File | None) -> FileVersion | None:
    """The row of an older version; None for the newest."""
    if file is None or item.version in (None, file.version):
        return None
    row: FileVersion | None = FileVersion.get_or_none(FileVersion.file == file, FileVersion.version == item.version)
    return row


def _files(ids: Sequence[int]) -> Any:
    return File.select(File, Blob).join(Blob).where(File.id.in_(list(ids)))


def _sop_instance_uids(ids: Sequence[int]) -> dict[int, str]:
    rows = Instance.select(Instance.file, Instance.sop_uid).where(Instance.file.in_(list(ids)), Instance.member == "")
    return dict(raw_rows(rows))
