"""Pictures of frames, kept under data/cache/thumbnails by what they show; bounded, and safe to delete."""

import contextlib
import os
import secrets
import time
import zlib
from pathlib import Path
from typing import BinaryIO, Literal, cast

from portal import runtime
from portal.models import Blob
from portal.pixels import render_pool
from portal.pixels.render_pool import Unrenderable

Size = Literal["thumbnail", "frame"]
LONGER_SIDE: dict[Size, int] = {"thumbnail": 256, "frame": 1024}
"""Pixels of the longer side."""
FOLDER_COUNT = 256
MAX_FOLDER_BYTES = (1 << 30) // FOLDER_COUNT
"""Bytes of the pictures in one folder, which are spread evenly: a gibibyte in all. The oldest go first."""
MAX_FOLDER_FILES = 100_000 // FOLDER_COUNT
"""Files in one folder."""
DIGEST_LENGTH = 64
RETRY_AFTER = 3600.0
"""Seconds after which what could not be shown is tried again."""


def picture(blob: Blob, frame: int, size: Size) -> bytes:
    """A PNG of one frame, from 0. Raises Unshowable or Busy, as `renderers.render`."""
    path = _path(blob, frame, size)
    kept = _kept(path)
    if kept is not None:
        return kept
    try:
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            found = render_pool.render(cast(BinaryIO, content), frame=frame, side=LONGER_SIDE[size])
    except Unrenderable as error:
        _keep(path.with_suffix(".txt"), error.message.encode())
        raise
    _keep(path, found)
    return found


def remove_orphaned() -> int:
    """Remove pictures of contents that no record has any more: they were purged. Returns how many went."""
    gone = 0
    for folder in (runtime.current().data / "cache" / "thumbnails").glob("*/"):
        names = [name for name in os.listdir(folder) if len(name.partition("-")[0]) == DIGEST_LENGTH]
        digests = {name.partition("-")[0] for name in names}
        known = {row.digest for row in Blob.select(Blob.digest).where(Blob.digest.in_(list(digests)))}
        for name in names:
            if name.partition("-")[0] not in known:
                (folder / name).unlink(missing_ok=True)
                gone += 1
    return gone


def _path(blob: Blob, frame: int, size: Size) -> Path:
    """By content: bytes that are the same have the same picture, whoever may see them."""
    name = f"{blob.digest}-{frame}-{size}.png"
    folder = f"{zlib.crc32(name.encode()) % FOLDER_COUNT:02x}"
    return runtime.current().data / "cache" / "thumbnails" / folder / name


def _kept(path: Path) -> bytes | None:
    """The picture that is here. Raises Unshowable where it was tried within the hour and cannot be shown."""
    with contextlib.suppress(OSError):
        found = path.read_bytes()
        if found:
            return found
    refused = path.with_suffix(".txt")
    with contextlib.suppress(OSError):
        if time.time() - refused.stat().st_mtime < RETRY_AFTER:
            raise Unrenderable(refused.read_text())
    return None


def _keep(path: Path, content: bytes) -> None:
    """A cache that cannot be written, on a full disk for one, is no reason to show nothing."""
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
    """Drop the oldest files of a folder until a fifth of the room is free again; returns how many went.

    Each picture that is written has its folder looked at: that is a thousandth of a second, and holds the bounds.
    """
    found: list[tuple[float, int, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                told = entry.stat()
                found.append((told.st_mtime, told.st_size, entry.path))
    size, gone = sum(each for _, each, _ in found), 0
    if size <= largest and len(found) <= most:
        return 0
    for _, each, path in sorted(found):
        if size <= largest * 4 // 5 and len(found) - gone <= most * 4 // 5:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        size, gone = size - each, gone + 1
    return gone
