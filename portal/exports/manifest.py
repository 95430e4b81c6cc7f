"""The manifest: the last object of an export, which names every other one, signed with the site's key."""

import hashlib
import hmac
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from peewee import JOIN, Case, fn

from portal import runtime, site_settings
from portal.errors import Damaged, Missing, Taken, Unreachable
from portal.exports import sidecars
from portal.jobs.runs import Run
from portal.models import ALTERNATE, CURRENT, File, FileVersion, Instance, Job, JobItem, Storage, now
from portal.models.compiled import is_one_of, raw_rows
from portal.tree.batches import batched
from portal.tree.folders import MANIFESTS_FOLDER

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

FORMAT = "portico-manifest-1"
ITEMS_PER_PAGE = 500
CHUNK_BYTES = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Manifest:
    """A manifest that lies in a temporary file, to be sent from there."""

    file: IO[bytes]
    size: int
    digest: str

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk


class _Row(NamedTuple):
    """An item and the file that it is of, as the database has them: of a million each its own row would be slow."""

    id: int
    key: str
    size: int
    digest: str
    message: str
    file: int | None
    version: int | None
    newest: int | None
    name: str
    origin_type: str
    origin_id: str
    origin_via: str
    created: str


def write(run: Run, destination: "Destination", storage: Storage) -> dict[str, Any]:
    """Write the manifest under a name of its own, and read it back; returns what the job's result says of it.

    Its moment is on the row before it is written, so that a run after a kill makes the same bytes, and finds them.
    """
    while True:
        begun = _begun(run)
        manifest = build(_head(run.job, storage, begun["ended"]), run.job.id, storage.prefix)
        with manifest.file:
            is_new = _put(destination, begun["name"], manifest)
        if _is_there(destination, begun["name"], manifest):
            key = f"{storage.prefix}/{begun['name']}" if storage.prefix else begun["name"]
            return {"manifest": {**begun, "key": key, "size": manifest.size, "sha256": manifest.digest}}
        if is_new:
            raise Damaged("The storage gives back another manifest than was sent. Check it, and do not rely on it.")
        run.write(result={**run.job.result, "manifest": {**begun, "sha256": ""}})


def _begun(run: Run) -> dict[str, Any]:
    """Name and moment of the manifest that is being written; one that was finished is never touched again."""
    begun: dict[str, Any] = run.job.result.get("manifest") or {}
    if begun and "sha256" not in begun:
        return begun
    number = begun.get("number", 0) + 1
    moment = now()
    again = f"-{number}" if number > 1 else ""
    name = f"{MANIFESTS_FOLDER}/{moment:%Y-%m-%dT%H%M%SZ}-export-{run.job.id}{again}/manifest.json"
    begun = {"name": name, "ended": moment.isoformat(), "number": number}
    run.write(result={**run.job.result, "manifest": begun})
    return begun


def _put(destination: "Destination", name: str, manifest: "Manifest") -> bool:
    """Whether it was not there yet."""
    try:
        destination.put(name, manifest.chunks(), size=manifest.size, digest=manifest.digest)
    except Taken:
        return False
    return True


def _is_there(destination: "Destination", name: str, manifest: "Manifest") -> bool:
    """Whether the storage gives back the manifest. Raises Unreachable where it has none: the next run writes it."""
    try:
        return destination.holds(name, size=manifest.size, digest=manifest.digest)
    except Missing as error:
        raise Unreachable("The storage said that it took the manifest, but does not have it.") from error


def _head(job: Job, storage: Storage, ended: str) -> dict[str, Any]:
    started: datetime = job.started or job.created
    return {
        "export": {"id": job.id, "started": started.isoformat(), "ended": ended, "started_by": job.started_by},
        "site": site_settings.get("site.name"),
        "project": job.params["path"],
        "storage": storage.label,
        "prefix": storage.prefix,
        "software": f"portico {metadata.version('portico')}",
        "counts": {
            "objects": job.total,
            "verified": job.done,
            "failed": job.failed,
            "bytes": job.bytes,
            "held_back": job.result.get("held_back", 0),
        },
    }


def build(head: dict[str, Any], job_id: int, prefix: str) -> Manifest:
    """Write the manifest of an export's items, in constant memory; the same bytes for the same head and items.

    One JSON object, an item a line. The signature is the HMAC-SHA-256 of all bytes before its own line, under the
    key that the site derives for `manifest`.
    """
    file = tempfile.TemporaryFile(dir=runtime.current().run)  # noqa: SIM115 (it goes when the manifest does)
    signature = hmac.new(runtime.secrets().derive("manifest"), digestmod=hashlib.sha256)
    digest = hashlib.sha256()
    for some in batched(_lines(head, job_id, f"{prefix}/" if prefix else ""), ITEMS_PER_PAGE):
        lines = b"".join(some)
        signature.update(lines)
        digest.update(lines)
        file.write(lines)
    last = f'"signature": {json.dumps(signature.hexdigest())}}}\n'.encode()
    digest.update(last)
    file.write(last)
    return Manifest(file, file.tell(), digest.hexdigest())


def _lines(head: dict[str, Any], job_id: int, prefix: str) -> Iterator[bytes]:
    yield _line(f'{{"format": {_encode(FORMAT)}')
    for name, value in head.items():
        yield _line(f"{_encode(name)}: {_encode(value)}")
    yield from _list("items", (_item(row, told, prefix) for row, told in _items(job_id, "verified")))
    yield from _list("failed", (_failure(row, prefix) for row, _told in _items(job_id, "failed")))


def _list(name: str, entries: Iterable[str]) -> Iterator[bytes]:
    yield f"{_encode(name)}: [".encode()
    between = "\n"
    for entry in entries:
        yield f"{between}{entry}".encode()
        between = ",\n"
    yield b"\n],\n"


def _line(text: str) -> bytes:
    return f"{text},\n".encode()


def _item(row: _Row, told: dict[str, str], prefix: str) -> str:
    """An item in JSON, of which only texts go through the encoder: one for each of a million objects takes long."""
    more = "".join(
        f', "{name}": {_encode(prefix + value if name == "sidecar_of" else value)}' for name, value in told.items()
    )
    if row.version is not None:
        more += f', "version": {row.version}'
    if row.file is not None and row.version != row.newest:  # its key is not that of the file
        more += f', "name": {_encode(row.name)}'
    if row.file is not None:
        more += f', "origin": {_origin(row.origin_type, row.origin_id, row.origin_via)}'
        more += f', "received": "{row.created.replace(" ", "T")}+00:00"'
    return f'{{"key": {_encode(prefix + row.key)}, "size": {row.size}, "sha256": {_encode(row.digest)}{more}}}'


@lru_cache(maxsize=1000)
def _origin(kind: str, number: str, via: str) -> str:
    return _encode({"type": kind, "id": number, "via": via})


def _failure(row: _Row, prefix: str) -> str:
    return _encode({"key": prefix + row.key, "size": row.size, "sha256": row.digest, "sentence": row.message})


def _items(job_id: int, state: str) -> Iterator[tuple[_Row, dict[str, str]]]:
    """Items of one state in their order, by pages.

    With each the `sop_instance_uid` of one object of DICOM, or the key of the object that a document is `sidecar_of`.
    """
    after = 0
    while True:
        rows = _page(job_id, state, after)
        if not rows:
            return
        uids = _sop_instance_uids([row.file for row in rows if row.file is not None])
        beside = sidecars.described_keys([row.id for row in rows])
        for row in rows:
            told = {"sidecar_of": beside[row.id]} if row.id in beside else {}
            if row.file in uids:
                told["sop_instance_uid"] = uids[row.file]
            yield row, told
        after = rows[-1].id


def _page(job_id: int, state: str, after: int) -> list[_Row]:
    of_item = JobItem.id, JobItem.key, JobItem.size, JobItem.digest, JobItem.message
    of_file = File.id, JobItem.version, Case(None, [(JobItem.version.is_null(False), File.version)]), File.name
    columns = ("origin_type", "origin_id", "origin_via", "created")
    of_version = [fn.COALESCE(getattr(FileVersion, name), getattr(File, name)) for name in columns]
    wanted = (JobItem.job == job_id) & (JobItem.state == state) & (JobItem.id > after)
    is_older = (FileVersion.file == JobItem.file) & (FileVersion.version == JobItem.version)
    found = JobItem.select(*of_item, *of_file, *of_version).left_outer_join(File).where(wanted)
    found = found.join_from(JobItem, FileVersion, JOIN.LEFT_OUTER, on=is_older)
    return [_Row(*row) for row in raw_rows(found.order_by(JobItem.id).limit(ITEMS_PER_PAGE))]


def _sop_instance_uids(file_ids: list[int]) -> dict[int | None, str]:
    shown = Instance.state.in_((CURRENT, ALTERNATE))
    found = Instance.select(Instance.file, Instance.sop_uid)
    return dict(raw_rows(found.where(is_one_of(Instance.file, file_ids), Instance.member == "", shown)))
