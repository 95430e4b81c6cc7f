"""Whole records of the archive that cannot be indexed: kept, named to an admin, and tried again by `portal reindex`."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from portal import runtime
from portal.access import audit
from portal.access.actors import Actor
from portal.archive import Record, Slice
from portal.archive.slices import CHUNK
from portal.errors import Missing, PortalError
from portal.models import QuarantinedRecord, now, writing

log = logging.getLogger(__name__)

MAX_TEXT_LENGTH = 300


def add(record: Record, error: Exception) -> None:
    """Write down why a record has no rows; a second time the newer reason stands."""
    # What the error says may hold a value of the object: its kind and where it was raised are enough.
    where = "" if isinstance(error, PortalError) else "\n" + "".join(traceback.format_tb(error.__traceback__))
    log.error("segment %s at %d is quarantined (%s)%s", record.segment, record.offset, type(error).__name__, where)
    footer: dict[str, Any] = record.footer if isinstance(record.footer, dict) else {}
    told = {
        "size": record.size,
        "digest": _text(footer.get("digest")),
        "project": _text(footer.get("project")),
        "name": _text(footer.get("name")),
        "received": _text(footer.get("received_at")),
        "message": _message(error),
    }
    place = {"segment": record.segment, "offset": record.offset}
    keys = [QuarantinedRecord.segment, QuarantinedRecord.offset]
    with writing():
        QuarantinedRecord.insert(**place, **told).on_conflict(conflict_target=keys, update=told).execute()


def remove(record: Record) -> None:
    """Forget that a record could not be indexed, inside the caller's write block: it has its rows now."""
    QuarantinedRecord.delete().where(
        QuarantinedRecord.segment == record.segment, QuarantinedRecord.offset == record.offset
    ).execute()


def list_all(limit: int = 100, before: int | None = None) -> list[QuarantinedRecord]:
    """The last found first; page on with the last one's id."""
    query = QuarantinedRecord.select()
    if before is not None:
        query = query.where(QuarantinedRecord.id < before)
    return list(query.order_by(QuarantinedRecord.id.desc()).limit(limit))


def get(record_id: int) -> QuarantinedRecord:
    """Raises Missing."""
    row: QuarantinedRecord | None = QuarantinedRecord.get_or_none(QuarantinedRecord.id == record_id)
    if row is None:
        raise Missing(f"No record with the number {record_id} is quarantined. `portal archive quarantined` lists them.")
    return row


def download(row: QuarantinedRecord, *, actor: Actor) -> Iterator[bytes]:
    """The bytes as they were received, and a row of the audit log that they left. Raises Damaged."""
    content = runtime.archive().open(row.segment, row.offset, row.size)
    with writing():
        audit.record(actor, "record:downloaded", "record", row.id, segment=row.segment, offset=row.offset)
    return _read(content)


def file_name(row: QuarantinedRecord) -> str:
    """A name for its bytes outside."""
    return row.name or f"{row.segment.removesuffix('.seg')}-{row.offset}.bin"


def acknowledge(record_id: int, *, actor: Actor) -> None:
    """An admin knows of it: pages no longer name it as something that waits. Raises Missing."""
    with writing():
        row = get(record_id)
        row.noted = now()
        row.save(only=[QuarantinedRecord.noted])
        audit.record(actor, "record:noted", "record", row.id, segment=row.segment, offset=row.offset)


def count_unacknowledged() -> int:
    """How many nobody has looked at yet."""
    return int(QuarantinedRecord.select().where(QuarantinedRecord.noted.is_null()).count())


def view(row: QuarantinedRecord) -> dict[str, Any]:
    """One record for `--json`."""
    return {
        "id": row.id,
        "segment": row.segment,
        "offset": row.offset,
        "bytes": row.size,
        "project": row.project,
        "name": row.name,
        "received": row.received,
        "found": row.found.isoformat(),
        "reason": row.message,
    }


def _read(content: Slice) -> Iterator[bytes]:
    with content:
        while chunk := content.read(CHUNK):
            yield chunk


def _message(error: Exception) -> str:
    """What a defect of ours says may hold values of the object: only its kind is kept."""
    if isinstance(error, PortalError):
        return _text(error.message)
    return f"Reading it failed ({type(error).__name__})."


def _text(value: object) -> str:
    """A text from a record: bounded, and one that the database takes."""
    text = value if isinstance(value, str) else ""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return text[:MAX_TEXT_LENGTH]
    return text.encode("utf-8", "replace").decode()[:MAX_TEXT_LENGTH]
