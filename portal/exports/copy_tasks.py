"""What is left to copy of an export: its unfinished items in batches, each with the place of its bytes."""

from collections.abc import Iterator
from typing import NamedTuple

from portal.exports import sidecars
from portal.jobs import item_row
from portal.jobs.item_row import Item
from portal.models import Blob, File, Job
from portal.models.compiled import is_one_of, raw_rows

SMALL_OBJECT_BYTES = 8 << 20
"""Bytes up to which objects go together in a batch, and an object is finished even though its run is to stop."""


class Location(NamedTuple):
    """Where content is in the archive."""

    segment: str
    offset: int
    size: int
    digest: str


class Task(NamedTuple):
    """One item, and where its bytes are; None where the archive no longer has them. A sidecar has its bytes here."""

    item: Item
    location: Location | None
    sidecar: bytes | None = None


def batches(job: Job, most: int, *, has_sidecars: bool) -> Iterator[list[Task]]:
    """Small objects together, as many as are best delivered by one call; a large one by itself."""
    columns = Blob.segment, Blob.offset, Blob.size, Blob.digest
    batch: list[Task] = []
    batch_size = 0
    for page in item_row.unfinished_pages(job):
        # Where their files point to, since the same content may have a damaged record too. For a file that is gone or
        # has other content by now, it is the newest record of the content that was planned.
        has_id = is_one_of(File.id, [item.file_id for item in page if item.file_id])
        rows = raw_rows(File.select(File.id, *columns).join(Blob).where(has_id))
        of_files = {row[0]: Location._make(row[1:]) for row in rows}
        moved = {item.digest for item in page if not _is_content(of_files.get(item.file_id), item)}
        records = Blob.select(*columns).where(Blob.digest.in_(list(moved))).order_by(Blob.id)
        newest = {(row[3], row[2]): Location._make(row) for row in (raw_rows(records) if moved else ())}
        contents = sidecars.contents([item.id for item in page]) if has_sidecars else {}
        for item in page:
            location = of_files.get(item.file_id)
            if not _is_content(location, item):
                location = newest.get((item.digest, item.size))
            if batch and (len(batch) == most or batch_size + item.size > SMALL_OBJECT_BYTES):
                yield batch
                batch, batch_size = [], 0
            batch.append(Task(item=item, location=location, sidecar=contents.get(item.id)))
            batch_size += item.size
    if batch:
        yield batch


def _is_content(location: Location | None, item: Item) -> bool:
    """Whether a location has the content that was planned."""
    return location is not None and (location.digest, location.size) == (item.digest, item.size)
