"""moto and gcp-storage-emulator as they are released, but for where a large object is: on the disk (decision 50).

They hold it in memory, and more than once. What is replaced here is how its bytes are kept, nothing of the protocol.
Usage: python stores_on_disk.py moto|gcs ARGUMENTS OF THAT SERVER
"""

import base64
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import google_crc32c

CHUNK = 1 << 20
SMALL = 8 << 20
"""Bytes up to which the emulator of Google reads a file as ever."""

Piece = tuple[IO[bytes], int, int]
"""A file, and where in it a piece of an object begins and ends."""


class Kept:
    """Stands for the bytes of an object: has a length, gives slices, and is read as it is sent, piece by piece."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = list(pieces)

    def __len__(self) -> int:
        return sum(end - start for _file, start, end in self.pieces)

    def __getitem__(self, part: slice) -> "Kept":
        first, last, _step = part.indices(len(self))
        found, at = [], 0
        for file, start, end in self.pieces:
            found.append((file, start + max(0, first - at), min(end, start + last - at)))
            at += end - start
        return Kept((file, start, end) for file, start, end in found if start < end)

    def __iter__(self) -> Iterator[bytes]:
        for file, start, end in self.pieces:
            for offset in range(start, end, CHUNK):
                yield os.pread(file.fileno(), min(CHUNK, end - offset), offset)

    @cached_property
    def sums(self) -> tuple[str, str]:
        """CRC32C and MD5 as Google writes them, by one reading."""
        running: tuple[Any, Any] = google_crc32c.Checksum(), hashlib.md5()
        for chunk in self:
            for each in running:
                each.update(chunk)
        crc32c, md5 = (base64.b64encode(each.digest()).decode() for each in running)
        return crc32c, md5


def moto() -> Callable[[], None]:
    """Parts lie in files there already; the end of an upload joins them in memory, and so does each GET.

    Here an object is the files of its parts. To moto a part is empty when it joins them: its checks, the ETag and all
    else stay its own. It tells no CRC64 of such an object, which it would have made of nothing.
    """
    from moto import server
    from moto.s3.models import FakeKey, FakeMultipart

    value, complete = FakeKey.value, FakeMultipart.complete

    class Joined(Kept):
        """Moto closes it with its object; what it answers with is a slice, whose end leaves the files open."""

        def close(self) -> None:
            for file, _start, _end in self.pieces:
                file.close()

    def read(key: Any) -> bytes | Kept:
        if isinstance(key.name, int):  # a part, by its number
            return b""
        return key._value_buffer[:] if _is_kept(key._value_buffer) else value.fget(key)

    def keep(key: Any, content: bytes | Joined) -> None:
        if _is_kept(content):
            key._value_buffer, key.contentsize = content, len(content)
        else:
            value.fset(key, content)

    def join(upload: Any, body: Iterable[tuple[int, str]]) -> tuple[Joined, str, None]:
        named = list(body)
        _nothing, tag, _checksum = complete(upload, iter(named))
        parts = [upload.parts[number] for number, _tag in named]
        pieces = [(part._value_buffer, 0, part.size) for part in parts]
        for part in parts:
            part._value_buffer = BytesIO()  # moto closes those of an upload that has ended
        return Joined(pieces), tag, None

    FakeKey.value, FakeMultipart.complete = property(read, keep), join
    return server.main


def gcs() -> Callable[[], None]:
    """Each part of an upload has the emulator read and write all that came before it, and each GET the whole object.

    Here what is added to a file is written behind it, a file that becomes another's is linked, and what is sent is read
    on the way.
    """
    from gcp_storage_emulator import __main__, server
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.storage import _FileStore

    read, write, crc32c, md5 = _FileStore.read_bytes, _FileStore.write_bytes, objects._crc32c, objects._md5

    class File(Kept):
        def __init__(self, path: Path) -> None:
            super().__init__([(path.open("rb"), 0, path.stat().st_size)])

        def __add__(self, content: bytes) -> "File":
            path = Path(self.pieces[0][0].name)
            with path.open("ab") as file:
                file.write(content)
            return File(path)

    class Handler(server.RequestHandler):
        def setup(self) -> None:
            super().setup()
            send = self.wfile.write
            self.wfile.write = lambda content: [send(each) for each in content] if _is_kept(content) else send(content)

    def opened(store: Any, name: str) -> bytes | File:
        path = store._disk_path(name)
        return File(path) if path.is_file() and path.stat().st_size > SMALL else read(store, name)

    def keep(store: Any, name: str, content: bytes | Kept) -> None:
        path = store._disk_path(name)
        if not isinstance(content, Kept):
            path.unlink(missing_ok=True)  # another name may have its file
            write(store, name, content)
        elif not (path.exists() and path.samefile(content.pieces[0][0].name)):
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(content.pieces[0][0].name)

    _FileStore.read_bytes, _FileStore.write_bytes = opened, keep
    objects._crc32c = lambda content: content.sums[0] if _is_kept(content) else crc32c(content)
    objects._md5 = lambda content: content.sums[1] if _is_kept(content) else md5(content)
    server.RequestHandler = Handler
    return __main__.main


def _is_kept(content: object) -> bool:
    return isinstance(content, Kept)


if __name__ == "__main__":
    {"moto": moto, "gcs": gcs}[sys.argv.pop(1)]()()
