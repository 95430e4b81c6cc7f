"""The manifest: the last object of an export, which lists every other one, signed with the site's key."""

import hashlib
import hmac
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from peewee import JOIN, Case, fn

from portal import runtime, site_settings
from portal.errors import Damaged, Missing, Taken, Unreachable
from portal.exports import sidecars
from portal.exports.results import ManifestRecord
from portal.jobs.runs import Run
from portal.models import ALTERNATE, CURRENT, File, FileVersion, Instance, Job, JobItem, Storage, now
from portal.models.compiled import is_one_of, raw_rows
from portal.tree.folders import MANIFESTS_FOLDER

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

FORMAT = "portico-manifest-1"
ITEMS_PER_PAGE = 500
CHUNK_BYTES = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Manifest:
    """A manifest in a temporary file, from which it is sent."""

    file: IO[bytes]
    size: int
    digest: str

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk


class _Row(NamedTuple):
    """An item and its file, as the database has them: Peewee's rows would be slow for a million items."""

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


def write(
    run: Run, destination: "Destination", storage: Storage, record: ManifestRecord, *, path: str, held_back: int
) -> ManifestRecord:
    """Write the manifest under a name of its own, and read it back; `record` is what an earlier run has begun.

    Its moment is on the row before it is written, so that a run after a kill makes the same bytes, and finds them.
    """
    while True:
        if not record.name or record.sha256 is not None:  # none is begun; a finished one is never written over
            number, moment = record.number + 1, now()
            again = f"-{number}" if number > 1 else ""
            name = f"{MANIFESTS_FOLDER}/{moment:%Y-%m-%dT%H%M%SZ}-export-{run.job.id}{again}/manifest.json"
            record = ManifestRecord(name=name, ended=moment.isoformat(), number=number)
            run.write(result={**run.job.result, **record.dump()})

        head = _head(run.job, storage, record.ended, path=path, held_back=held_back)
        manifest = build(head, run.job.id, storage.prefix)
        with manifest.file:
            is_new = True
            try:
                destination.put(record.name, manifest.chunks(), size=manifest.size, digest=manifest.digest)
            except Taken:
                is_new = False
        try:
            is_stored = destination.holds(record.name, size=manifest.size, digest=manifest.digest)
        except Missing as error:  # the next run writes it
            raise Unreachable("The storage accepted the manifest, but does not have it.") from error
        if is_stored:
            key = f"{storage.prefix}/{record.name}" if storage.prefix else record.name
            return replace(record, key=key, size=manifest.size, sha256=manifest.digest)
        if is_new:
            raise Damaged("The storage gives back another manifest than was sent. Check it, and do not rely on it.")
        record = replace(record, sha256="")  # another object has this name: the manifest gets the next one


def _head(job: Job, storage: Storage, ended: str, *, path: str, held_back: int) -> dict[str, Any]:
    started: datetime = job.started or job.created
    return {
        "export": {"id": job.id, "started": started.isoformat(), "ended": ended, "started_by": job.started_by},
        "site": site_settings.get("site.name"),
        "project": path,
        "storage": storage.label,
        "prefix": storage.prefix,
        "software": f"portico {metadata.version('portico')}",
        "counts": {
            "objects": job.total,
            "verified": job.done,
            "failed": job.failed,
            "bytes": job.bytes,
            "held_back": held_back,
        },
    }


def build(head: dict[str, Any], job_id: int, prefix: str) -> Manifest:
    """Write the manifest of an export's items, in constant memory; the same bytes for the same head and items.

    One JSON object, an item a line. The signature is the HMAC-SHA-256 of all bytes before its own line, under the
    key that the site derives for `manifest`.
    """
    file = tempfile.TemporaryFile(dir=runtime.current().run)  # noqa: SIM115 (the manifest closes it)
    signature = hmac.new(runtime.secrets().derive("manifest"), digestmod=hashlib.sha256)
    digest = hashlib.sha256()

    def put(text: str) -> None:
        line = text.encode()
        signature.update(line)
        digest.update(line)
        file.write(line)

    put(f'{{"format": {_encode(FORMAT)},\n')
    for name, value in head.items():
        put(f"{_encode(name)}: {_encode(value)},\n")
    folder = f"{prefix}/" if prefix else ""
    items = (_entry(row, more, folder) for row, more in _items(job_id, "verified"))
    failed = (
        _encode({"key": folder + row.key, "size": row.size, "sha256": row.digest, "sentence": row.message})
        for row, _more in _items(job_id, "failed")
    )
    for name, entries in (("items", items), ("failed", failed)):
        put(f"{_encode(name)}: [")
        between = "\n"
        for entry in entries:
            put(between + entry)
            between = ",\n"
        put("\n],\n")
    last = f'"signature": {json.dumps(signature.hexdigest())}}}\n'.encode()
    digest.update(last)
    file.write(last)
    return Manifest(file, file.tell(), digest.hexdigest())


def _entry(row: _Row, more: dict[str, str], prefix: str) -> str:
    """An item in JSON, of which only texts go through the encoder: encoding a million objects takes long."""
    texts = "".join(
        f', "{name}": {_encode(prefix + value if name == "sidecar_of" else value)}' for name, value in more.items()
    )
    if row.version is not None:
        texts += f', "version": {row.version}'
    if row.file is not None and row.version != row.newest:  # its key is not that of the file
        texts += f', "name": {_encode(row.name)}'
    if row.file is not None:
        texts += f', "origin": {_encoded_origin(row.origin_type, row.origin_id, row.origin_via)}'
        texts += f', "received": "{row.created.replace(" ", "T")}+00:00"'
    return f'{{"key": {_encode(prefix + row.key)}, "size": {row.size}, "sha256": {_encode(row.digest)}{texts}}}'


@lru_cache(maxsize=1000)
def _encoded_origin(kind: str, number: str, via: str) -> str:
    return _encode({"type": kind, "id": number, "via": via})


def _items(job_id: int, state: str) -> Iterator[tuple[_Row, dict[str, str]]]:
    """Items of one state in their order, by pages.

    With each the `sop_instance_uid` of a DICOM object, or the key of the object that it is a `sidecar_of`.
    """
    of_item = JobItem.id, JobItem.key, JobItem.size, JobItem.digest, JobItem.message
    of_file = File.id, JobItem.version, Case(None, [(JobItem.version.is_null(False), File.version)]), File.name
    columns = ("origin_type", "origin_id", "origin_via", "created")
    of_version = [fn.COALESCE(getattr(FileVersion, name), getattr(File, name)) for name in columns]
    is_older = (FileVersion.file == JobItem.file) & (FileVersion.version == JobItem.version)
    items = JobItem.select(*of_item, *of_file, *of_version).left_outer_join(File)
    items = items.join_from(JobItem, FileVersion, JOIN.LEFT_OUTER, on=is_older)
    items = items.where(JobItem.job == job_id, JobItem.state == state).order_by(JobItem.id).limit(ITEMS_PER_PAGE)
    after = 0
    while rows := [_Row(*row) for row in raw_rows(items.where(JobItem.id > after))]:
        file_ids = [row.file for row in rows if row.file is not None]
        is_shown = Instance.state.in_((CURRENT, ALTERNATE))
        instances = Instance.select(Instance.file, Instance.sop_uid).where(is_one_of(Instance.file, file_ids))
        uids: dict[int | None, str] = dict(raw_rows(instances.where(Instance.member == "", is_shown)))
        described = sidecars.described_keys([row.id for row in rows])
        for row in rows:
            more = {"sidecar_of": described[row.id]} if row.id in described else {}
            if row.file in uids:
                more["sop_instance_uid"] = uids[row.file]
            yield row, more
        after = rows[-1].id
