"""Whole records of the archive that cannot be indexed: kept, listed for admins, retried by `portal reindex`."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from portal import runtime
from portal.access import audit
from portal.access.actors import Actor
from portal.archive import Record
from portal.errors import Missing, PortalError
from portal.models import QuarantinedRecord, now, writing

log = logging.getLogger(__name__)

MAX_TEXT_LENGTH = 300


def add(record: Record, error: Exception) -> None:
    """Record why a record has no rows; a newer reason replaces the older one."""
    # The text of an error may contain values of the object: log only its kind and where it was raised.
    where = "" if isinstance(error, PortalError) else "\n" + "".join(traceback.format_tb(error.__traceback__))
    log.error("segment %s at %d is quarantined (%s)%s", record.segment, record.offset, type(error).__name__, where)
    footer: dict[str, Any] = record.footer if isinstance(record.footer, dict) else {}
    # The same holds for what pages show: the text is kept only where it was written for people.
    message = error.message if isinstance(error, PortalError) else f"Reading it failed ({type(error).__name__})."
    columns = {
        "size": record.size,
        "digest": _text(footer.get("digest")),
        "project": _text(footer.get("project")),
        "name": _text(footer.get("name")),
        "received": _text(record.received_at),
        "message": _text(message),
    }
    place = {"segment": record.segment, "offset": record.offset}
    keys = [QuarantinedRecord.segment, QuarantinedRecord.offset]
    with writing():
        QuarantinedRecord.insert(**place, **columns).on_conflict(conflict_target=keys, update=columns).execute()


def remove(record: Record) -> None:
    """Remove a record that has its rows now, inside the caller's write block."""
    QuarantinedRecord.delete().where(
        QuarantinedRecord.segment == record.segment, QuarantinedRecord.offset == record.offset
    ).execute()


def list_all(limit: int = 100, before: int | None = None) -> list[QuarantinedRecord]:
    """The newest first; `before`: the id of the last one of the previous page."""
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
    """The bytes as they were received; the download is written to the audit log. Raises Damaged."""
    content = runtime.archive().open(row.segment, row.offset, row.size)
    with writing():
        audit.record(actor, "record:downloaded", "record", row.id, segment=row.segment, offset=row.offset)
    return content.chunks()


def file_name(row: QuarantinedRecord) -> str:
    """The file name for a download."""
    return row.name or f"{row.segment.removesuffix('.seg')}-{row.offset}.bin"


def acknowledge(record_id: int, *, actor: Actor) -> None:
    """Record that an admin knows of it: pages no longer ask for attention. Raises Missing."""
    with writing():
        row = get(record_id)
        row.noted = now()
        row.save(only=[QuarantinedRecord.noted])
        audit.record(actor, "record:noted", "record", row.id, segment=row.segment, offset=row.offset)


def count_unacknowledged() -> int:
    """How many no admin has acknowledged yet."""
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


def _text(value: object) -> str:
    """A text of limited length that the database accepts; empty if the value is no text."""
    text = value if isinstance(value, str) else ""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return text[:MAX_TEXT_LENGTH]
    return text.encode("utf-8", "replace").decode()[:MAX_TEXT_LENGTH]
