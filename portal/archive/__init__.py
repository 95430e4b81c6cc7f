"""The archive: append-only segments that hold every byte as it was received."""

from portal.archive.records import Damage, Footer, Found, Purged, Record
from portal.archive.segments import Archive, Reader
from portal.archive.slices import Slice
from portal.archive.streams import Stream
from portal.archive.writers import NewRecord, Place

__all__ = [
    "Archive",
    "Damage",
    "Footer",
    "Found",
    "NewRecord",
    "Place",
    "Purged",
    "Reader",
    "Record",
    "Slice",
    "Stream",
]
