"""Manifests: that of each finished export is still where it was written, whole and with this site's signature.

The objects that a manifest lists are not read: `portal export verify` does that, export by export.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from portal.errors import BadValue, Missing, PortalError
from portal.exports.manifest_reader import ManifestReader
from portal.exports.results import ManifestRecord
from portal.jobs.records import JobParams
from portal.models import Job, SiteKey
from portal.verification.recorder import Recorder

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

EXPORTS_AT_ONCE = 100
OpenStorage = Callable[[Job], "Destination"]
"""Opens the storage of an export. Raises Missing where it was removed."""
AGAIN = (
    "Check who has access to the storage; portal export verify {} compares the objects, and a new export makes it good."
)


def check(recorder: Recorder, open_storage: OpenStorage) -> None:
    """Continue where the last run was. Raises Stopped."""
    after = recorder.state.position.get("export", 0)
    keys = list(SiteKey.select().order_by(SiteKey.id))
    silent: dict[int | None, str] = {}
    """Why a storage cannot be read now, by its number."""
    exports = Job.select().where(Job.kind == "export", Job.state.in_(("done", "errors"))).order_by(Job.id)
    while page := list(exports.where(Job.id > after).limit(EXPORTS_AT_ONCE)):
        for export in page:
            after = export.id
            record = ManifestRecord.load(export.result)
            if record.sha256 and len(keys) > 1 and export.ended < keys[-1].since:
                recorder.skip("manifests that were signed with an earlier key of the site")
            elif record.sha256 and (
                reason := silent.get(export.storage) or _check_export(recorder, export, open_storage)
            ):
                silent[export.storage] = reason
                recorder.skip(reason)
            recorder.reached({"export": after}, steps=1)


def _check_export(recorder: Recorder, export: Job, open_storage: OpenStorage) -> str:
    """Check one manifest; returns why its storage cannot be read, if it cannot."""
    try:
        message = _difference(recorder, ManifestRecord.load(export.result), open_storage(export))
    except Missing:
        return "manifests in a storage that was removed"
    except (PortalError, OSError):
        return f"manifests in storage {JobParams.load(export.params).to}, which cannot be read now"
    recorder.count("manifests")
    if message:
        recorder.find(f"export {export.id}", f"{message} {AGAIN.format(export.id)}")
    return ""


def _difference(recorder: Recorder, record: ManifestRecord, destination: "Destination") -> str:
    """Why the manifest is not the one that was written; empty where it is."""
    if destination.stat(record.name) is None:
        return f"Its manifest {record.key} is missing in the storage."
    reader = ManifestReader(_chunks(recorder, destination, record.name))
    try:
        reader.check()
    except BadValue:
        return f"Its manifest {record.key} was changed."
    if (reader.size, reader.digest) != (record.size, record.sha256):
        return f"Its manifest {record.key} was changed."
    return "" if reader.is_ours else f"Its manifest {record.key} does not have this site's signature."


def _chunks(recorder: Recorder, destination: "Destination", name: str) -> Iterator[bytes]:
    for chunk in destination.read(name):
        recorder.rest()
        yield chunk
