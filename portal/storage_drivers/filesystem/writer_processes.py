"""Processes that write small files: threads of one process take Python's lock from each other at each system call.

`python -m portal.storage_drivers.filesystem.writer_processes` is one of them. Its standard input is a socket: a message
brings a folder and the files to write there, the answer says of each whether it is written. They save time, and nothing
depends on them: what a writer did not do, or where it has ended, the calling thread writes itself, and gets the error.
"""

import atexit
import contextlib
import gc
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

from portal.errors import PortalError
from portal.storage_drivers.filesystem.batch import Batch
from portal.storage_drivers.store import Content

log = logging.getLogger(__name__)

MAX_WRITERS = 3
"""Writers of one process of ours, each of 22 MiB: also on two processors, for one of them mostly waits for the disk."""
MIN_OBJECTS = 16
"""Objects that are worth a message."""


Task = tuple[str, int, str, bytes | tuple[str, int]]
"""Name below the folder, size, digest, and the bytes or their file and offset: plain, so that a pickle is quick."""


def write(base: int, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> Sequence[bool]:
    """Whether each object is in the folder `base` now, by its name: whole, compared and durable, written by a writer.

    Waits for a writer that is free. Writes none where they are too few, or where one has no `source`.
    """
    tasks: list[Task] = []
    for name, content in objects:
        if (source := content.source) is not None:
            place = source if isinstance(source, bytes) else (source.file, source.offset)
            tasks.append((name, content.size, content.digest, place))
    if len(tasks) < max(MIN_OBJECTS, len(objects)):
        return [False] * len(objects)

    writers = _free_writers()
    writer = writers.get()
    try:
        return writer.write(base, tasks, overwrite=overwrite)
    finally:
        writers.put(writer)


def start_all() -> None:
    """Start the writers that are free and not started yet, for who will need them soon."""
    writers = _free_writers()
    with contextlib.suppress(queue.Empty):
        for _number in range(MAX_WRITERS):
            writer = writers.get_nowait()
            writer.start()
            writers.put(writer)


def stop_all() -> None:
    """End the writers of this process, when none is at work; the next call starts others."""
    with _lock:
        writers = _writers_by_process.pop(os.getpid(), None)
    while writers is not None and not writers.empty():
        writers.get().stop()


class _Writer:
    """One child process, started when it is first needed, or soon will be."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._has_failed = False

    def start(self) -> None:
        """Where that fails, its first task finds it ended."""
        if self._connection is None and not self._has_failed:
            with contextlib.suppress(OSError):
                self._start()

    def write(self, base: int, tasks: Sequence[Task], *, overwrite: bool) -> Sequence[bool]:
        """A writer that has ended is not started again: what killed it would kill the next one too."""
        if not self._has_failed:
            self._has_failed = True  # until it has answered: a late answer must never be taken for that to another task
            try:
                written = self._request(base, tasks, overwrite=overwrite)
                self._has_failed = False
                return written
            except (OSError, EOFError) as error:
                log.warning("a writer process has ended (%s); files are written without it", type(error).__name__)
                self.stop()
        return [False] * len(tasks)

    def _request(self, base: int, tasks: Sequence[Task], *, overwrite: bool) -> Sequence[bool]:
        connection = self._connection or self._start()
        connection.send((tasks, overwrite))
        send_handle(connection, base, 0)
        answer = connection.recv_bytes(len(tasks))
        if len(answer) != len(tasks):
            raise EOFError
        return [byte == 1 for byte in answer]

    def _start(self) -> Connection:
        """It ends when its input does, and thus however this process ends."""
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        command = [sys.executable, "-P", "-m", "portal.storage_drivers.filesystem.writer_processes"]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        return self._connection

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.wait()
        self._connection = self._process = None


_writers_by_process: dict[int, "queue.SimpleQueue[_Writer]"] = {}
_lock = threading.Lock()


def _free_writers() -> "queue.SimpleQueue[_Writer]":
    """The free writers of this process: one that was forked does not use its parent's."""
    with _lock:
        if os.getpid() not in _writers_by_process:
            _writers_by_process[os.getpid()] = queue.SimpleQueue()
            for _number in range(MAX_WRITERS):
                _writers_by_process[os.getpid()].put(_Writer())
        return _writers_by_process[os.getpid()]


atexit.register(stop_all)


def _serve(connection: Connection) -> None:
    """Write what is requested until the connection ends."""
    gc.freeze()
    sources = _Sources()
    while True:
        try:
            tasks, overwrite = connection.recv()
            base = recv_handle(connection)
        except EOFError:
            return
        try:
            objects = [(task[0], sources.content(task)) for task in tasks]
            batch = Batch(base, lambda error: PortalError(str(error)), unnamed=True, together=True)
            errors = batch.write(objects, overwrite=overwrite)
        finally:
            os.close(base)
        connection.send_bytes(bytes(error is None for error in errors))


class _Sources:
    """The files that contain the bytes: the last one stays open, since the next objects are mostly in it too."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._path = ""
        self._file = -1

    def content(self, task: Task) -> Content:
        name, size, digest, source = task

        def chunks() -> Iterable[bytes]:
            if isinstance(source, bytes):
                return (source,)
            file, offset = source
            return (os.pread(self._open(file), size, offset),)

        return Content(key=name, size=size, digest=digest, chunks=chunks, on_read=self._require_parent)

    def _require_parent(self, _length: int) -> None:
        """End here, before anything has its name, where the parent has ended while the disk was waited for.

        Another run may have gone on since then, and another export have written something newer in its place.
        """
        if os.getppid() != self._parent:
            sys.exit()

    def _open(self, path: str) -> int:
        if path != self._path:
            if self._file >= 0:
                os.close(self._file)
            self._path, self._file = "", -1
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        return self._file


if __name__ == "__main__":
    _serve(Connection(os.dup(0)))
