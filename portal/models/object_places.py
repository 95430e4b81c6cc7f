"""Where the bytes of one object are: of a file that is the object, or of a member of a zip."""

from collections.abc import Callable
from typing import Any, NamedTuple

from peewee import JOIN, fn

from portal.models.index import Instance, ZipMember
from portal.models.tree import Blob, File


class ObjectPlace(NamedTuple):
    """`size` bytes from `offset` of a segment.

    With a `packed_size`, they are those from byte `begin` of what that many bytes from `offset` inflate to.
    """

    segment: str
    offset: int
    size: int
    packed_size: int | None = None
    begin: int = 0


COLUMNS: tuple[Any, ...] = (
    Blob.segment,
    Blob.offset,
    Blob.size,
    Blob.dataset_offset,
    ZipMember.offset.alias("member_offset"),
    ZipMember.packed_size,
    ZipMember.size.alias("member_size"),
    ZipMember.is_deflated,
    ZipMember.dataset_offset.alias("begin"),
)
"""What `whole` and `data_set` take, from a query that was joined by `join`."""


def join(query: Any) -> Any:
    """A query of instances, joined with their files, their rows in the directories of zips, and their blobs."""
    blob_id = fn.COALESCE(ZipMember.blob, File.blob)
    query = query.join_from(Instance, File).join_from(Instance, ZipMember, JOIN.LEFT_OUTER)
    return query.join_from(File, Blob, on=(Blob.id == blob_id))


def whole(columns: tuple[Any, ...]) -> ObjectPlace:
    """All bytes of the object, a Part 10 file."""
    segment, offset, size, _, member_offset, packed_size, member_size, is_deflated, _ = columns
    if member_offset is None:
        return ObjectPlace(segment, offset, size)
    packed = packed_size if is_deflated else None
    return ObjectPlace(segment, offset + member_offset, member_size, packed)


def data_set(columns: tuple[Any, ...]) -> ObjectPlace:
    """Its data set alone, behind the file meta information."""
    return behind(whole(columns), (columns[3] if columns[4] is None else columns[8]) or 0)


def behind(place: ObjectPlace, offset: int) -> ObjectPlace:
    """A place without its first bytes."""
    if place.packed_size is None:
        return place._replace(offset=place.offset + offset, size=place.size - offset)
    return place._replace(begin=place.begin + offset, size=place.size - offset)


def of_blob(blob: Blob) -> ObjectPlace:
    """All bytes of a record."""
    return ObjectPlace(blob.segment, blob.offset, blob.size)


def of_object(file: File, member: str = "") -> ObjectPlace:
    """All bytes of a file that is an object, indexed or not, or of a member of a zip. Raises DoesNotExist."""
    if not member:
        return of_blob(file.blob)
    instance = Instance.get(Instance.file == file, Instance.member == member)
    return of_instances([instance.id])[instance.id]


def of_instances(ids: Any, part: Callable[[tuple[Any, ...]], ObjectPlace] = whole) -> dict[int, ObjectPlace]:
    """A part of some instances, by number of the instance; `ids`: their numbers, or a query of them."""
    rows = join(Instance.select(Instance.id, *COLUMNS)).where(Instance.id.in_(ids)).tuples()
    return {row[0]: part(row[1:]) for row in rows}
