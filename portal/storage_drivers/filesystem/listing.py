"""The files below a folder as a list of objects, without temporary files."""

import contextlib
import os
import stat
from collections.abc import Iterator

from portal.errors import BadValue
from portal.storage_drivers.filesystem.open_folder import FOLDER_FLAGS
from portal.storage_drivers.filesystem.temporary_files import is_temporary
from portal.storage_drivers.store import Stat

_MAX_DEPTH = 200
"""Folders within each other that are listed."""


def walk(folder: int, above: str, prefix: str, after: bytes) -> Iterator[Stat]:
    """The files below an open folder in the order of their paths; links are not followed."""
    for key, is_folder in _entries(folder, above):
        name = key.removeprefix(above).rstrip("/")
        if not (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
            continue
        with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
            if is_folder and (os.fsencode(key) > after or after.startswith(os.fsencode(key))):
                if key.count("/") > _MAX_DEPTH:
                    raise BadValue(f"{key[:60]}… is more than {_MAX_DEPTH} folders deep. Move it, or choose a prefix.")
                descriptor = os.open(name, FOLDER_FLAGS, dir_fd=folder)
                try:
                    yield from walk(descriptor, key, prefix, after)
                finally:
                    os.close(descriptor)
            elif not is_folder and os.fsencode(key) > after:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Stat(key, status.st_size)


def _entries(folder: int, above: str) -> list[tuple[str, bool]]:
    """Path, and whether it is a folder, of what a folder contains, in order; a folder's path ends with a slash."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append((f"{above}{entry.name}/", True))
            elif not is_temporary(entry.name):
                found.append((above + entry.name, False))
    return sorted(found, key=lambda entry: os.fsencode(entry[0]))
