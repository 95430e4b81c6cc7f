"""A zip that arrives, read whole before any of it is kept: its DICOM objects, in bounded memory."""

import pickle
from collections.abc import Iterator
from typing import BinaryIO

from portal.dicom import file_meta
from portal.zip_members import directory, objects
from portal.zip_members.objects import ZippedObject


class Survey:
    """The DICOM objects of a zip, in the order of its directory; they can be gone through any number of times."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        """Raises BadValue for a zip that is hostile or damaged."""
        members = directory.read(content, size)
        self.unread = sum(not member.is_readable for member in members)
        """Members that are encrypted, or compressed in a way that is not read: none of them is indexed."""
        self.members = sum(not member.is_folder for member in members)
        """Members of any kind, without folders."""
        self.count = 0
        self._objects = objects.temporary_file()
        try:
            for found in objects.read(content, members):
                pickle.dump(found, self._objects, pickle.HIGHEST_PROTOCOL)
                self.count += 1
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[ZippedObject]:
        self._objects.seek(0)
        for _ in range(self.count):
            yield pickle.load(self._objects)  # noqa: S301 (a file without a name, which only this object has written)

    def close(self) -> None:
        self._objects.close()


def of(content: BinaryIO, size: int) -> Survey | None:
    """The survey of a file; None for one that is no zip. Raises BadValue for a zip that is hostile or damaged."""
    content.seek(0)
    if size <= file_meta.OFFSET or not directory.is_zip(content.read(4)):
        return None
    return Survey(content, size)
