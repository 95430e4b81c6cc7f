"""Cached images of frames under data/cache/thumbnails, named by content; bounded, and safe to delete."""

import contextlib
import os
import secrets
import time
import zlib
from pathlib import Path
from typing import Literal

from portal import runtime
from portal.models import Blob, Instance, object_places
from portal.pixels import render_pool
from portal.pixels.render_pool import Unrenderable
from portal.zip_members import object_content

Size = Literal["thumbnail", "frame"]
LONGER_SIDE: dict[Size, int] = {"thumbnail": 256, "frame": 1024}
"""Pixels of the longer side."""
FOLDER_COUNT = 256
MAX_FOLDER_BYTES = (1 << 30) // FOLDER_COUNT
"""Bytes of the images in one folder, over which they are spread evenly: a gibibyte in all. The oldest go first."""
MAX_FOLDER_FILES = 100_000 // FOLDER_COUNT
"""Files in one folder."""
DIGEST_LENGTH = 64
MEMBER_DIGITS = 16
"""Digits of a member's digest in the name of its picture, behind that of its zip."""
MAX_INFLATED_SIZE = 512 << 20
"""Bytes of a deflated member that is unpacked for a picture."""
RETRY_AFTER = 3600.0
"""Seconds after which an object that could not be rendered is tried again."""


def picture(blob: Blob, frame: int, size: Size, *, instance: Instance | None = None) -> bytes:
    """A PNG of one frame, from 0. Raises Unrenderable or Busy, as `render_pool.render`.

    `instance`: that of the object, which may be a member of a zip.
    """
    # By content: equal bytes have the same image for every user.
    is_member = instance is not None and instance.member != ""
    member = f"-{instance.dataset_digest[:MEMBER_DIGITS]}" if is_member and instance is not None else ""
    name = f"{blob.digest}{member}-{frame}-{size}.png"
    folder = f"{zlib.crc32(name.encode()) % FOLDER_COUNT:02x}"
    path = runtime.current().data / "cache" / "thumbnails" / folder / name
    cached = _read_cached(path)
    if cached is not None:
        return cached

    try:
        place = object_places.of_blob(blob)
        if instance is not None and is_member:
            place = object_places.of_instances([instance.id]).get(instance.id, place)
        if place.packed_size is not None and place.size > MAX_INFLATED_SIZE:
            raise Unrenderable("The object is too large to be unpacked for a picture. Download the file.")
        with object_content.open_to_seek(place) as content:
            png = render_pool.render(content, frame=frame, side=LONGER_SIDE[size])
    except Unrenderable as error:
        _write_cached(path.with_suffix(".txt"), error.message.encode())
        raise
    _write_cached(path, png)
    return png


def remove_orphaned() -> int:
    """Remove images of contents that no record has any more, since they were purged. Returns how many."""
    removed = 0
    for folder in (runtime.current().data / "cache" / "thumbnails").glob("*/"):
        names = [name for name in os.listdir(folder) if len(name.partition("-")[0]) == DIGEST_LENGTH]
        digests = {name.partition("-")[0] for name in names}
        known = {row.digest for row in Blob.select(Blob.digest).where(Blob.digest.in_(list(digests)))}
        for name in names:
            if name.partition("-")[0] not in known:
                (folder / name).unlink(missing_ok=True)
                removed += 1
    return removed


def _read_cached(path: Path) -> bytes | None:
    """The image, if it is cached. Raises Unrenderable where rendering failed less than `RETRY_AFTER` ago."""
    with contextlib.suppress(OSError):
        png = path.read_bytes()
        if png:
            return png
    refused = path.with_suffix(".txt")
    with contextlib.suppress(OSError):
        if time.time() - refused.stat().st_mtime < RETRY_AFTER:
            raise Unrenderable(refused.read_text())
    return None


def _write_cached(path: Path, content: bytes) -> None:
    # A cache that cannot be written, on a full disk for example, must not keep the image from being shown.
    part = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):
        sweep(path.parent)


def sweep(folder: Path, *, largest: int = MAX_FOLDER_BYTES, most: int = MAX_FOLDER_FILES) -> int:
    """Remove the oldest files of a folder until a fifth of its bounds is free again; returns how many.

    Called for the folder of each image that is written, which takes about a millisecond and keeps the bounds.
    """
    entries_by_age: list[tuple[float, int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat()
                entries_by_age.append((status.st_mtime, status.st_size, entry.path))
    size, removed = sum(each for _, each, _ in entries_by_age), 0
    if size <= largest and len(entries_by_age) <= most:
        return 0
    for _, each, path in sorted(entries_by_age):
        if size <= largest * 4 // 5 and len(entries_by_age) - removed <= most * 4 // 5:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        size, removed = size - each, removed + 1
    return removed
