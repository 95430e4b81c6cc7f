"""Pictures of frames, kept under data/cache/thumbnails by the digest of what they show; bounded, and safe to delete."""

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import BinaryIO, Literal, cast

from portal import renderers, runtime
from portal.models import Blob
from portal.renderers import Unshowable

Size = Literal["thumbnail", "frame"]
SIDES: dict[Size, int] = {"thumbnail": 256, "frame": 1024}
"""Pixels of the longer side."""
LARGEST_CACHE = 1 << 30
"""Bytes of all pictures that are kept; the oldest go first."""
LARGEST_FETCHED = 256 << 20
"""Bytes of an object that is copied from the archive's bucket for a picture."""
SWEPT_EVERY = 200
"""Pictures that are written between two looks at how many there are."""
REFUSED_FOR = 3600.0
"""Seconds after which what could not be shown is tried again."""

_written = [0]


def picture(blob: Blob, frame: int, size: Size) -> bytes:
    """A PNG of one frame, from 0. Raises Unshowable or Busy, as `renderers.render`."""
    path = _path(blob, frame, size)
    kept = _kept(path)
    if kept is not None:
        return kept
    try:
        _refuse_far(blob)
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            found = renderers.render(cast(BinaryIO, content), frame=frame, side=SIDES[size])
    except Unshowable as error:
        _keep(path.with_suffix(".txt"), error.sentence.encode())
        raise
    _keep(path, found)
    return found


def _refuse_far(blob: Blob) -> None:
    """A renderer reads a file: what lies in the bucket alone is copied for it, which is too much for a large object."""
    if blob.size > LARGEST_FETCHED and not runtime.archive().is_here(blob.segment):
        raise Unshowable("The object lies in the bucket alone, and is too large to be fetched for a picture.")


def _path(blob: Blob, frame: int, size: Size) -> Path:
    """By content: bytes that are the same have the same picture, whoever may see them."""
    folder = runtime.current().data / "cache" / "thumbnails" / blob.digest[:2]
    return folder / f"{blob.digest}-{frame}-{size}.png"


def _kept(path: Path) -> bytes | None:
    """The picture that is here. Raises Unshowable where it was tried within the hour and cannot be shown."""
    with contextlib.suppress(OSError):
        found = path.read_bytes()
        if found:
            return found
    refused = path.with_suffix(".txt")
    with contextlib.suppress(OSError):
        if time.time() - refused.stat().st_mtime < REFUSED_FOR:
            raise Unshowable(refused.read_text())
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
    _written[0] += 1
    if _written[0] % SWEPT_EVERY == 0:
        sweep()


def sweep(largest: int = LARGEST_CACHE) -> int:
    """Drop the oldest pictures until a fifth of the room is free again; returns how many went."""
    found: list[tuple[float, int, str]] = []
    for folder, _, names in os.walk(runtime.current().data / "cache" / "thumbnails"):
        for name in names:
            with contextlib.suppress(OSError):
                path = os.path.join(folder, name)
                told = os.stat(path)
                found.append((told.st_mtime, told.st_size, path))
    left = sum(size for _, size, _ in found)
    gone = 0
    for _, size, path in sorted(found) if left > largest else ():
        if left <= largest * 4 // 5:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        left, gone = left - size, gone + 1
    return gone
