"""The bytes of an object in the archive as a file: of a record, or of a member of a zip."""

from typing import BinaryIO, cast

from portal import runtime
from portal.archive import Slice
from portal.archive.slices import CHUNK
from portal.models.object_places import ObjectPlace
from portal.zip_members import objects
from portal.zip_members.inflated import Inflated


def open_place(place: ObjectPlace) -> Slice | Inflated:
    """The bytes, to be read from the first to the last. Raises Damaged where they are missing."""
    stored = runtime.archive().open(place.segment, place.offset, place.packed_size or place.size)
    if place.packed_size is None:
        return stored
    return Inflated(cast(BinaryIO, stored), place.begin, place.size)


def open_to_seek(place: ObjectPlace) -> BinaryIO:
    """The same for a reader that jumps about: what is inflated is copied to a file first."""
    return to_seek(open_place(place))


def to_seek(opened: Slice | Inflated) -> BinaryIO:
    """What was opened, or where it is inflated a copy of it; closing it closes what was opened."""
    if isinstance(opened, Slice):
        return cast(BinaryIO, opened)
    copy = objects.temporary_file()
    try:
        with opened:
            while chunk := opened.read(CHUNK):
                copy.write(chunk)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy
