"""Processes that write small files: threads of one process take Python's lock from each other at each system call.

`python -m portal.storage_drivers.filesystem.writer_processes` is one of them. Its standard input is a socket: a message
brings a folder and what is to lie in it, the answer says of each object whether it is there. They spare time, and
nothing depends on them: what one did not do, or where it has ended, the thread that asked does by itself, and then
hears why not.
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
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

from portal.errors import PortalError
from portal.storage_drivers.filesystem.batch import Batch
from portal.storage_drivers.store import Content, FileExtent

log = logging.getLogger(__name__)

MAX_WRITERS = 3
"""Scribes of one process of ours, each of 22 MiB: also on two processors, for one of them mostly waits for the disk."""
MIN_OBJECTS = 16
"""Objects that are worth a message."""


Task = tuple[str, int, str, bytes | tuple[str, int]]
"""Name below the folder, size, digest, and the bytes or their file and offset: plain, so that a pickle is quick."""


def write(base: int, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> Sequence[bool]:
    """Whether each object is in the folder `base` now, by its name: whole, compared and durable, by a scribe's hand.

    Waits for a scribe that is free. None is there where they are too few, or where the bytes of one must come by its
    chunks.
    """
    tasks = [_task(name, each, each.source) for name, each in objects if each.source is not None]
    if len(tasks) < max(MIN_OBJECTS, len(objects)):
        return [False] * len(objects)
    scribes = _scribes()
    scribe = scribes.get()
    try:
        return scribe.write(base, tasks, overwrite=overwrite)
    finally:
        scribes.put(scribe)


def _task(name: str, content: Content, source: bytes | FileExtent) -> Task:
    return name, content.size, content.digest, source if isinstance(source, bytes) else (source.file, source.offset)


def start_all() -> None:
    """Start those that are free and not started yet: for who will need them soon."""
    scribes = _scribes()
    with contextlib.suppress(queue.Empty):
        for _number in range(MAX_WRITERS):
            scribe = scribes.get_nowait()
            scribe.begin()
            scribes.put(scribe)


def stop_all() -> None:
    """End the scribes of this process, when none is at work; the next call starts others."""
    with _lock:
        scribes = _all.pop(os.getpid(), None)
    while scribes is not None and not scribes.empty():
        scribes.get().close()


class _Scribe:
    """One child process, started when it is first needed, or soon will be."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._has_failed = False

    def begin(self) -> None:
        """Where that fails, its first task finds it ended."""
        if self._connection is None and not self._has_failed:
            with contextlib.suppress(OSError):
                self._start()

    def write(self, base: int, tasks: Sequence[Task], *, overwrite: bool) -> Sequence[bool]:
        """One that has ended is not started again: what killed it would kill the next one too."""
        if not self._has_failed:
            self._has_failed = True  # until it has answered: a late answer must never be taken for that to another task
            try:
                there = self._ask(base, tasks, overwrite=overwrite)
                self._has_failed = False
                return there
            except (OSError, EOFError) as error:
                log.warning("a process that writes files has ended (%s); it is done without it", type(error).__name__)
                self.close()
        return [False] * len(tasks)

    def _ask(self, base: int, tasks: Sequence[Task], *, overwrite: bool) -> Sequence[bool]:
        connection = self._connection or self._start()
        connection.send((tasks, overwrite))
        send_handle(connection, base, 0)
        answer = connection.recv_bytes(len(tasks))
        if len(answer) != len(tasks):
            raise EOFError
        return [byte == 1 for byte in answer]

    def _start(self) -> Connection:
        """It hears that it is to end by the end of its input, however this process ends."""
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        command = [sys.executable, "-P", "-m", "portal.storage_drivers.filesystem.writer_processes"]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.wait()
        self._connection = self._process = None


_all: dict[int, "queue.SimpleQueue[_Scribe]"] = {}
_lock = threading.Lock()


def _scribes() -> "queue.SimpleQueue[_Scribe]":
    """This process's own that are free: one that was forked leaves its parent's alone."""
    with _lock:
        if os.getpid() not in _all:
            _all[os.getpid()] = queue.SimpleQueue()
            for _number in range(MAX_WRITERS):
                _all[os.getpid()].put(_Scribe())
        return _all[os.getpid()]


atexit.register(stop_all)


def _serve(connection: Connection) -> None:
    """Write what is asked for until nobody asks any more."""
    gc.freeze()
    files = _Files()
    while True:
        try:
            tasks, overwrite = connection.recv()
            base = recv_handle(connection)
        except EOFError:
            return
        try:
            objects = [(task[0], files.content(task)) for task in tasks]
            batch = Batch(base, lambda error: PortalError(str(error)), unnamed=True, together=True)
            errors = batch.write(objects, overwrite=overwrite)
        finally:
            os.close(base)
        connection.send_bytes(bytes(error is None for error in errors))


class _Files:
    """Where the bytes lie: the file that was read last stays open, since the next ones mostly lie in it too."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._path = ""
        self._file = -1

    def content(self, task: Task) -> Content:
        name, size, digest, source = task
        chunks = partial(self._chunks, size, source)
        return Content(key=name, size=size, digest=digest, chunks=chunks, came=self._require_parent)

    def _require_parent(self, _length: int) -> None:
        """End here, before anything has its name, where the parent has ended while the disk was waited for.

        Another run may have gone on since then, and another export have written something newer in its place.
        """
        if os.getppid() != self._parent:
            sys.exit()

    def _chunks(self, size: int, source: bytes | tuple[str, int]) -> Iterable[bytes]:
        if isinstance(source, bytes):
            return (source,)
        file, offset = source
        return (os.pread(self._opened(file), size, offset),)

    def _opened(self, path: str) -> int:
        if path != self._path:
            if self._file >= 0:
                os.close(self._file)
            self._path, self._file = "", -1
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        return self._file


if __name__ == "__main__":
    _serve(Connection(os.dup(0)))
