"""Folders that are reached step by step, so that no part of a path is followed as a link."""

import contextlib
import os
from collections.abc import Iterable

from portal.errors import BadValue
from portal.storage_drivers import object_keys

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def descend(start: int, parts: Iterable[str], *, make: bool) -> int:
    """A new descriptor of the folder below; no part is followed as a link."""
    descriptor = os.dup(start)
    try:
        for part in parts:
            try:
                deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            except FileNotFoundError:
                if not make:
                    raise
                _make(part, descriptor)
                deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make(name: str, folder: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)


def split_name(name: str) -> list[str]:
    """The segments of an object's name. Raises BadValue for one that could lead out of the folder."""
    found = name.split("/")
    is_long = len(os.fsencode(name)) > object_keys.MAX_SEGMENT_BYTES
    is_too_long = is_long and any(len(os.fsencode(part)) > object_keys.MAX_SEGMENT_BYTES for part in found)
    if is_too_long or "\0" in name or not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(found):
        raise BadValue(f"{name[:200]!r} cannot be the name of an object.")
    return found
