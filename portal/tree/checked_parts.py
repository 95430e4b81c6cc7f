"""Parts of stored bytes: none is given before the digest of the whole was found to be right."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from time import monotonic

from portal import runtime, segment_checks
from portal.archive.slices import CHUNK
from portal.models import Blob

CHECK_SECONDS = 3600
"""How long the check of a blob lasts, so that a program that reads a large file part by part does not wait for each."""
MAX_REMEMBERED = 10_000

_checked: OrderedDict[tuple[str, int], float] = OrderedDict()
_lock = threading.Lock()


def open(blob: Blob, begin: int, end: int) -> Iterator[bytes]:
    """The bytes from `begin` up to `end`, in chunks. Raises Damaged before the first one."""
    check(blob)
    source = runtime.archive().open(blob.segment, blob.offset, blob.size)

    def chunks() -> Iterator[bytes]:
        with source:
            source.seek(begin)
            left = end - begin
            while left and (chunk := source.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    return chunks()


def check(blob: Blob) -> None:
    """Raise Damaged unless the digest of all bytes is right, or was less than `CHECK_SECONDS` ago."""
    key = blob.segment, blob.offset
    with _lock:
        if key in _checked and monotonic() - _checked[key] < CHECK_SECONDS:
            return
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as whole:
        if whole.digest() != blob.digest:
            raise segment_checks.damage_error(blob.segment, blob.offset)
    with _lock:
        _checked[key] = monotonic()
        _checked.move_to_end(key)
        while len(_checked) > MAX_REMEMBERED:
            _checked.popitem(last=False)
