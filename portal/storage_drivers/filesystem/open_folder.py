"""Folders that are opened step by step, so that no part of a path is followed as a link."""

import contextlib
import os
from collections.abc import Iterable

from portal.errors import BadValue
from portal.storage_drivers import object_keys

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def descend(start: int, parts: Iterable[str], *, create: bool) -> int:
    """A new descriptor of the folder below; no part is followed as a link."""
    descriptor = os.dup(start)
    try:
        for part in parts:
            try:
                deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            except FileNotFoundError:
                if not create:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=descriptor)
                    os.fsync(descriptor)
                deeper = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def split_name(name: str) -> list[str]:
    """The segments of an object's name. Raises BadValue for one that could lead out of the folder."""
    segments = name.split("/")
    may_be_too_long = len(os.fsencode(name)) > object_keys.MAX_SEGMENT_BYTES
    is_too_long = may_be_too_long and any(
        len(os.fsencode(segment)) > object_keys.MAX_SEGMENT_BYTES for segment in segments
    )
    if is_too_long or "\0" in name or not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(segments):
        raise BadValue(f"{name[:200]!r} cannot be the name of an object.")
    return segments
