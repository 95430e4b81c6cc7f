"""The items of an import: a row for each object below its prefix, with what a manifest records of it."""

import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal.errors import BadValue
from portal.exports import plan as export_plan
from portal.exports import sidecars
from portal.exports.manifest_reader import Entry, ManifestReader
from portal.imports.params import ImportParams, ImportPlan, ReadManifest
from portal.imports.request import KeyFilter
from portal.ingest import disk_reserve
from portal.jobs import item_runner
from portal.jobs.records import JobResult
from portal.jobs.runs import Run
from portal.models import Job, JobItem, Sidecar, batched_writes, writing
from portal.tree.batches import batched
from portal.tree.folders import MANIFESTS_FOLDER

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

ITEMS_PER_PAGE = 200
MAX_MANIFESTS = 1000
"""Manifests that one import reads, the latest ones."""
NAME_NOT_UTF8 = "Its name is not UTF-8 text. Rename it in the storage."
MISSING_OBJECT = "A manifest lists it, but it does not exist in the storage."
NOT_IN_MANIFEST = "Not listed in any manifest."
IS_SIDECAR = "The sidecar of the object beside it."
IS_MANIFEST = "The manifest of an export."


def create_items(run: Run, destination: "Destination") -> None:
    """Create the items, unless that is done. A run that was killed midway starts over: nothing is imported yet."""
    if JobResult.load(run.job.result).is_planned:
        return
    params = ImportParams.load(run.job.params)
    export_plan.delete_items(run)
    item_runner.add_items(
        run,
        _item_rows(run.job, params, destination),
        progress=lambda number: {"message": f"Listing the storage: {number:,} objects so far."},
    )

    if params.by == "headers":
        # The sidecars of an export get a state of their own: by their headers they would all fail.
        waiting = (JobItem.job == run.job) & (JobItem.state == "pending") & JobItem.key.endswith(sidecars.SUFFIX)
        after = 0
        rows = JobItem.select().order_by(JobItem.id).limit(ITEMS_PER_PAGE)
        while page := list(rows.where(waiting, JobItem.id > after)):
            run.check()
            after = page[-1].id
            objects = _items_by_key(run.job, [row.key.removesuffix(sidecars.SUFFIX) for row in page])
            ids = [row.id for row in page if row.key.removesuffix(sidecars.SUFFIX) in objects]
            with writing():
                JobItem.update(state="sidecar", message=IS_SIDECAR).where(JobItem.id.in_(ids)).execute()
    manifests = _read_manifests(run, params.prefix, destination) if params.by == "manifest" else []

    wanted = JobItem.state.in_(("pending", "failed"))
    sums: Any = JobItem.select(fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == run.job, wanted)
    total, size = sums.tuples()[0]
    unmatched = JobItem.select().where(JobItem.job == run.job, JobItem.state == "unmatched").count()
    result = ImportPlan(size=size or 0, unmatched=unmatched, manifests=manifests)
    run.write(total=total, result={**run.job.result, **result.dump()}, message="")


def manifest_entries(item_ids: Sequence[int]) -> dict[int, tuple[Entry, JobItem | None]]:
    """What the manifest says of some objects, and the item of the sidecar beside each."""
    rows = Sidecar.select(Sidecar, JobItem).left_outer_join(JobItem, on=Sidecar.item == JobItem.id)
    return {
        row.of_id: (json.loads(zlib.decompress(row.content)), row.item)
        for row in rows.where(Sidecar.of.in_(list(item_ids)))
    }


def _item_rows(job: Job, params: ImportParams, destination: "Destination") -> Iterator[tuple[Any, ...]]:
    """Rows as `JobItem.add` takes them, one for each object of the storage."""
    prefix = _folder(params.prefix)
    key_filter = KeyFilter(params)
    for number, stat in enumerate(destination.list(prefix)):
        if number % ITEMS_PER_PAGE == 0:
            disk_reserve.check()  # a listing may be endless
        if not stat.size and stat.key.endswith("/"):
            continue  # some programs store folders as empty objects
        key = stat.key.encode(errors="replace").decode()
        parts = key.removeprefix(prefix).split("/")
        state, message = "pending", ""
        if key != stat.key:
            state, message = "failed", NAME_NOT_UTF8
        elif len(parts) > 2 and parts[-3] == MANIFESTS_FOLDER and parts[-1] == "manifest.json":
            # A manifest is recognised at any depth, as an import may begin above the folder of its export.
            state, message = "manifest", IS_MANIFEST
        elif reason := key_filter.exclusion_reason(key):
            state, message = "unmatched", reason
        yield job.id, None, key, stat.size, "", state, message, state == "failed", 0


def _read_manifests(run: Run, prefix: str, destination: "Destination") -> list[ReadManifest]:
    """Record what each manifest says of the objects; those that none of them lists are skipped."""
    parts = prefix.split("/") if prefix else []
    # The folder that the export wrote to is the prefix or a parent of it.
    for depth in range(len(parts), -1, -1):
        base = _folder("/".join(parts[:depth]))
        listed = (stat.key for stat in destination.list(f"{base}{MANIFESTS_FOLDER}/"))
        names = deque((name for name in listed if name.endswith("/manifest.json")), MAX_MANIFESTS)
        if names:
            break
    else:
        place = f"at {prefix} or above it" if prefix else "in the storage"
        raise BadValue(f"There is no manifest of Portico {place}. Import by headers or by path instead.")

    manifests = []
    for number, name in enumerate(names):
        run.write(message=f"Reading {name}.")
        reader = ManifestReader(destination.read(name))
        try:
            _record_manifest(run, _folder(prefix), base, reader, number)
        except BadValue as error:
            message = f"{name}: {error.message} Choose a prefix without it, or import by headers."
            raise BadValue(message) from error
        manifests.append(ReadManifest(name=name, sha256=reader.digest, signed=reader.is_ours))
    rest = (JobItem.job == run.job) & (JobItem.state == "pending") & (JobItem.digest == "")
    batched_writes.update(JobItem, rest, state="unmatched", message=NOT_IN_MANIFEST, check=run.check)
    return manifests


def _record_manifest(run: Run, prefix: str, base: str, reader: ManifestReader, number: int) -> None:
    """Record the entries of one manifest; `base` is the folder that its export wrote to."""
    for page in batched(reader.entries(), ITEMS_PER_PAGE):
        run.check()
        disk_reserve.check()
        exported_to = _folder(str(reader.head.get("prefix") or ""))
        site = str(reader.head.get("site") or "another site")[:100]
        by_key: dict[str, Entry] = {}
        for entry in page:
            entry["below"] = entry["key"].removeprefix(exported_to)
            for name in ("key", "sidecar_of"):
                if name in entry:
                    entry[name] = base + str(entry[name]).removeprefix(exported_to)
            if entry["key"].startswith(prefix):
                by_key[entry["key"]] = {**entry, "site": site, "manifest": number}
        with writing():
            _record_entries(run.job, by_key)
            run.write_within()


def _record_entries(job: Job, by_key: dict[str, Entry]) -> None:
    """Join some entries of a manifest, by their keys, with the items of their objects and sidecars."""
    objects = {key: entry for key, entry in by_key.items() if "sidecar_of" not in entry}
    known = _items_by_key(job, objects)
    missing = ("failed", MISSING_OBJECT, True, 0)
    JobItem.add(
        (job.id, None, key.encode(errors="replace").decode(), entry["size"], entry["sha256"], *missing)
        for key, entry in objects.items()
        if key not in known
    )
    rows = _items_by_key(job, objects)  # with the missing ones: they may exist before the job is retried
    waiting = {key: row for key, row in rows.items() if row.state in ("pending", "failed")}
    for key, row in waiting.items():
        JobItem.update(digest=objects[key]["sha256"][:64]).where(JobItem.id == row.id).execute()
    Sidecar.delete().where(Sidecar.of.in_([row.id for row in waiting.values()])).execute()
    if waiting:
        contents = {key: zlib.compress(json.dumps(objects[key]).encode()) for key in waiting}
        Sidecar.insert_many(
            {"job": job.id, "of": row.id, "content": contents[key]} for key, row in waiting.items()
        ).execute()

    documents = {key: entry for key, entry in by_key.items() if "sidecar_of" in entry}
    document_rows = _items_by_key(job, documents)
    object_rows = _items_by_key(job, [entry["sidecar_of"] for entry in documents.values()])
    for key, entry in documents.items():
        document, of = document_rows.get(key), object_rows.get(entry["sidecar_of"])
        if document is not None and of is not None:
            columns = {"state": "sidecar", "digest": entry["sha256"][:64], "message": IS_SIDECAR}
            Sidecar.update(item=document.id).where(Sidecar.of == of.id).execute()
            JobItem.update(**columns).where(JobItem.id == document.id).execute()


def _items_by_key(job: Job, keys: Iterable[str]) -> dict[str, JobItem]:
    rows = JobItem.select(JobItem.id, JobItem.key, JobItem.state).where(JobItem.job == job, JobItem.key.in_(list(keys)))
    return {row.key: row for row in rows}


def _folder(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""
