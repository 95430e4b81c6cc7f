"""The list of an import: each object that lies below its prefix as a row, with what a manifest says of it."""

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
from portal.imports import request
from portal.ingest import disk_reserve
from portal.jobs.runs import Run
from portal.models import Job, JobItem, Sidecar, batched_writes, writing
from portal.models.compiled import raw_rows
from portal.tree.batches import batched
from portal.tree.folders import MANIFESTS_FOLDER

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination, Stat

ITEMS_PER_PAGE = 200
MAX_MANIFESTS = 1000
"""Manifests that one import reads, the latest ones."""
NAME_NOT_UTF8 = "Its name is no UTF-8 text. Rename it there."
MISSING_OBJECT = "A manifest names it, but nothing lies there."
NOT_IN_MANIFEST = "No manifest names it."
IS_SIDECAR = "It tells of the object beside it."
IS_MANIFEST = "The manifest of an export: it tells of the objects there."


def create_items(run: Run, destination: "Destination") -> None:
    """Write the items, unless that is done; begun anew where a run was killed in the middle: nothing is here yet."""
    if run.job.result.get("planned"):
        return
    export_plan.delete_items(run)
    spell = batched_writes.BatchWriter()
    number = 0
    for chunk in spell.chunks(_listed(run.job, destination)):
        run.check()
        disk_reserve.check()  # a list may go on for ever
        number += len(chunk)
        with spell.writing():
            JobItem.add(chunk)
            run.write_within(message=f"Lists what lies there: {number:,} objects so far.")
    if run.job.params["by"] == "headers":
        _mark_documents(run)
    signed = _tell(run, destination) if run.job.params["by"] == "manifest" else []
    wanted = JobItem.state.in_(("pending", "failed"))
    sums: Any = JobItem.select(fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == run.job, wanted)
    total, size = sums.tuples()[0]
    left = JobItem.select().where(JobItem.job == run.job, JobItem.state == "unmatched").count()
    result = {**run.job.result, "planned": True, "bytes": size or 0, "unmatched": left, "manifests": signed}
    run.write(total=total, result=result, message="")


def manifest_entries(item_ids: Sequence[int]) -> dict[int, tuple[Entry, JobItem | None]]:
    """What the manifest says of some objects, and the item of the document beside each."""
    rows = Sidecar.select(Sidecar, JobItem).left_outer_join(JobItem, on=Sidecar.item == JobItem.id)
    return {row.of_id: (_read(row.content), row.item) for row in rows.where(Sidecar.of.in_(list(item_ids)))}


def _read(content: bytes) -> Entry:
    entry: Entry = json.loads(zlib.decompress(content))
    return entry


def _folder(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""


def _listed(job: Job, destination: "Destination") -> Iterator[tuple[Any, ...]]:
    """Rows as `JobItem.add` takes them."""
    for stat in destination.list(_folder(job.params["prefix"])):
        if stat.size or not stat.key.endswith("/"):  # some programs keep folders as empty objects
            yield _row(job, stat)


def _row(job: Job, stat: "Stat") -> tuple[Any, ...]:
    key = stat.key.encode(errors="replace").decode()
    state, message = "pending", ""
    if key != stat.key:
        state, message = "failed", NAME_NOT_UTF8
    elif _is_manifest(job.params["prefix"], key):
        state, message = "manifest", IS_MANIFEST
    elif why := request.exclusion_reason(job.params, key):
        state, message = "unmatched", why
    return job.id, None, key, stat.size, "", state, message, state == "failed", 0


def _is_manifest(prefix: str, key: str) -> bool:
    """Whether an export wrote this object last, whichever folder the import begins at."""
    parts = key.removeprefix(_folder(prefix)).split("/")
    return len(parts) > 2 and parts[-3] == MANIFESTS_FOLDER and parts[-1] == "manifest.json"


def _mark_documents(run: Run) -> None:
    """Give a state of their own to the sidecars of an export: where headers decide, they would all be refused."""
    waiting = (JobItem.job == run.job) & (JobItem.state == "pending") & JobItem.key.endswith(sidecars.SUFFIX)
    after = 0
    while page := list(JobItem.select().where(waiting, JobItem.id > after).order_by(JobItem.id).limit(ITEMS_PER_PAGE)):
        run.check()
        after = page[-1].id
        beside = _rows(run.job, [row.key.removesuffix(sidecars.SUFFIX) for row in page])
        ids = [row.id for row in page if row.key.removesuffix(sidecars.SUFFIX) in beside]
        with writing():
            JobItem.update(state="sidecar", message=IS_SIDECAR).where(JobItem.id.in_(ids)).execute()


def _tell(run: Run, destination: "Destination") -> list[dict[str, Any]]:
    """Note what each manifest says of the objects; what none of them names stays there."""
    base, names = _manifests(destination, run.job.params["prefix"])
    signed = []
    for number, name in enumerate(names):
        run.write(message=f"Reads {name}.")
        reader = ManifestReader(destination.read(name))
        try:
            _note(run, base, reader, number)
        except BadValue as error:
            raise BadValue(f"{name}: {error.message} Leave it out by its prefix, or import by headers.") from error
        signed.append({"name": name, "sha256": reader.digest, "signed": reader.is_ours})
    rest = (JobItem.job == run.job) & (JobItem.state == "pending") & (JobItem.digest == "")
    batched_writes.update(JobItem, rest, state="unmatched", message=NOT_IN_MANIFEST, check=run.check)
    return signed


def _manifests(destination: "Destination", prefix: str) -> tuple[str, list[str]]:
    """The folder that an export wrote to, at the prefix or above it, and the manifests there in their order."""
    parts = prefix.split("/") if prefix else []
    for depth in range(len(parts), -1, -1):
        base = _folder("/".join(parts[:depth]))
        listed = (stat.key for stat in destination.list(f"{base}{MANIFESTS_FOLDER}/"))
        names = deque((name for name in listed if name.endswith("/manifest.json")), MAX_MANIFESTS)
        if names:
            return base, list(names)
    where = f"at {prefix}, or above it" if prefix else "there"
    raise BadValue(f"No manifest of Portico lies {where}. Import by headers or by path instead.")


def _note(run: Run, base: str, reader: ManifestReader, number: int) -> None:
    prefix = _folder(run.job.params["prefix"])
    for some in batched(reader.entries(), ITEMS_PER_PAGE):
        run.check()
        disk_reserve.check()
        theirs = _folder(str(reader.head.get("prefix") or ""))
        site = str(reader.head.get("site") or "another site")[:100]
        by_key: dict[str, Entry] = {}
        for entry in some:
            entry["below"] = entry["key"].removeprefix(theirs)
            for name in ("key", "sidecar_of"):
                if name in entry:
                    entry[name] = base + str(entry[name]).removeprefix(theirs)
            if entry["key"].startswith(prefix):
                by_key[entry["key"]] = {**entry, "site": site, "manifest": number}
        with writing():
            _note_objects(run.job, {key: entry for key, entry in by_key.items() if "sidecar_of" not in entry})
            _note_documents(run.job, {key: entry for key, entry in by_key.items() if "sidecar_of" in entry})
            run.write_within()


def _note_objects(job: Job, by_key: dict[str, Entry]) -> None:
    rows = _rows(job, by_key)
    JobItem.add(
        (
            job.id,
            None,
            key.encode(errors="replace").decode(),
            entry["size"],
            entry["sha256"],
            "failed",
            MISSING_OBJECT,
            True,
            0,
        )
        for key, entry in by_key.items()
        if key not in rows
    )
    rows = _rows(job, by_key)  # with those that are gone: they may come back before somebody tries them again
    waiting = {key: row for key, row in rows.items() if row.state in ("pending", "failed")}
    for key, row in waiting.items():
        JobItem.update(digest=by_key[key]["sha256"][:64]).where(JobItem.id == row.id).execute()
    Sidecar.delete().where(Sidecar.of.in_([row.id for row in waiting.values()])).execute()
    if waiting:
        contents = {key: zlib.compress(json.dumps(by_key[key]).encode()) for key in waiting}
        Sidecar.insert_many(
            {"job": job.id, "of": row.id, "content": contents[key]} for key, row in waiting.items()
        ).execute()


def _note_documents(job: Job, by_key: dict[str, Entry]) -> None:
    documents = _rows(job, by_key)
    objects = _rows(job, [entry["sidecar_of"] for entry in by_key.values()])
    for key, entry in by_key.items():
        document, of = documents.get(key), objects.get(entry["sidecar_of"])
        if document is not None and of is not None:
            Sidecar.update(item=document.id).where(Sidecar.of == of.id).execute()
            JobItem.update(state="sidecar", digest=entry["sha256"][:64], message=IS_SIDECAR).where(
                JobItem.id == document.id
            ).execute()


def _rows(job: Job, keys: Iterable[str]) -> dict[str, JobItem]:
    found = JobItem.select(JobItem.id, JobItem.key, JobItem.state).where(
        JobItem.job == job, JobItem.key.in_(list(keys))
    )
    return {row.key: row for row in found}


def count_by_state(job: Job) -> dict[str, list[int]]:
    """Number and bytes of the items of each state."""
    rows: Any = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == job)
    return {state: [number, size or 0] for state, number, size in raw_rows(rows.group_by(JobItem.state))}
