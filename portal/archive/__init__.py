"""The archive: append-only segments that hold every byte as it was received."""

from portal.archive.records import Damage, Footer, Record
from portal.archive.segments import Archive, Reader
from portal.archive.slices import Slice
from portal.archive.writers import Place, Stream

__all__ = ["Archive", "Damage", "Footer", "Place", "Reader", "Record", "Slice", "Stream"]
