"""Damaged bytes of an object that arrives again: its row is pointed to the intact ones."""

import logging
from typing import Any

from portal import runtime
from portal.access import audit
from portal.archive import Place
from portal.errors import Damaged
from portal.ingest import index, register
from portal.ingest.register import Arrival, Stored
from portal.models import File, Instance, Segment, ZipMember, object_places, retrieve_queries
from portal.models.object_places import ObjectPlace
from portal.tree import versions
from portal.zip_members import object_content

log = logging.getLogger(__name__)


def is_intact(stored: Stored) -> bool:
    """Whether the archive still has the bytes of an object that is stored already.

    Segments that are only in the bucket are trusted unless marked damaged: checking them would block the sender.
    """
    place, digest = _content(stored)
    try:
        with object_content.open_place(place) as content:
            if runtime.archive().is_here(place.segment):
                return content.digest() == digest
    except (Damaged, OSError):
        return False
    return not Segment.select().where(Segment.name == place.segment, Segment.damage != "").exists()


def repair(arrival: Arrival, place: Place, known: Stored) -> Stored:
    """Point a file whose bytes are damaged to the record of the same object that arrived again; its row stays.

    A member of a zip that is damaged gives way to the object, which becomes a file of its own. Inside the caller's
    write block.
    """
    if known.member:
        index.remove((Instance.file == known.file_id) & (Instance.member == known.member))
        return register.write_rows(arrival, place)
    row = _row(known)
    log.warning("file %d was damaged in segment %s: the same object arrived again", known.file_id, row.blob.segment)
    damaged, row.blob = row.blob_id, register.create_blob(arrival, place)
    row.save(only=["blob"])
    ZipMember.update(blob=row.blob).where(ZipMember.blob == damaged).execute()
    audit.record(register.actor_of(arrival), "file:mended", "file", known.file_id, version=row.version)
    return register.again(arrival, known)


def _row(stored: Stored) -> Any:
    """The row with the stored bytes: the file, or one of its older versions."""
    file: File = File.get_by_id(stored.file_id)
    return file if stored.version is None else versions.get(file, stored.version)


def _content(stored: Stored) -> tuple[ObjectPlace, str]:
    """The place of the stored bytes, and their digest."""
    if stored.member:
        instance = Instance.get(Instance.file == stored.file_id, Instance.member == stored.member)
        return retrieve_queries.stored_instances([instance.id])[instance.id].place, instance.dataset_digest
    blob = _row(stored).blob
    return object_places.of_blob(blob), str(blob.digest)
