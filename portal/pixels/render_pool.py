"""The processes that decode vendor pixels: a few, kept running, bounded in time and memory, and killed where they hang.

Rendering, transcoding and comparing pixels go through this pool, so that no decoder runs in a process with access to
the database and the keys. Each of our processes has its own pool, which ends with it.
"""

import atexit
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

from portal.errors import Busy, PortalError
from portal.pixels.protocol import DATA, DONE, FAILED, HEAD, LENGTH, MAX_MESSAGE_SIZE, READ, REFUSED, Channel

MAX_DECODERS = 2
"""Decoders of one of our processes."""
RENDER_TIMEOUT = 20.0
"""Seconds that rendering a picture may take."""
QUEUE_TIMEOUT = 10.0
"""Seconds that a picture waits for a free decoder."""
SILENCE_TIMEOUT = 60.0
"""Seconds that a decoder may send nothing: a frame takes less."""
TASK_TIMEOUT = 1800.0
"""Seconds that all frames of an object may take."""
MAX_PICTURE_SIZE = 16 << 20
MAX_DATASET_SIZE = 5 << 30
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")


class Undecodable(PortalError):
    """A decoder failed at these pixels, or ended; the message says how. A retry would fail the same way."""


class Refused(PortalError):
    """The task is not possible with this object; the message says why."""


class Unrenderable(PortalError):
    """These pixels cannot be rendered; a retry would fail the same way."""


def render(content: BinaryIO, *, frame: int, side: int, timeout: float = RENDER_TIMEOUT) -> bytes:
    """A PNG of one frame (from 0) of a DICOM file, at most `side` pixels wide and high, within `timeout` seconds.

    Raises Unrenderable, Busy where no decoder becomes free in time, and what reading the file raises.
    """
    options = {"frame": frame, "side": side}
    task = _Task("render", [content], options, max_size=MAX_PICTURE_SIZE, silence_timeout=timeout, timeout=timeout)
    picture = io.BytesIO()
    try:
        _pool.run(task, picture, queue_timeout=QUEUE_TIMEOUT)
    except Undecodable as error:
        raise Unrenderable(f"{error.message} Download the file.") from error
    except Refused as error:
        raise Unrenderable(error.message) from error
    return picture.getvalue()


def transcode(content: BinaryIO, result: BinaryIO, *, syntax: str, target: str) -> None:
    """Write a data set that is in a transfer syntax to `result` in another one: see `query.transcoding`.

    Waits for a free decoder. Raises Undecodable, Refused, and what reading and writing raise.
    """
    _pool.run(_Task("transcode", [content], {"syntax": syntax, "target": target}), result)


def same_frames(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two DICOM files have equal pixels, once decoded. Raises what `transcode` raises."""
    answer = io.BytesIO()
    _pool.run(_Task("same_frames", [one, other], {}, max_size=1), answer)
    return answer.getvalue() == b"\1"


def close() -> None:
    """End the decoders of this process; the next call starts others."""
    _pool.close()


@dataclass(frozen=True)
class _Task:
    name: str
    contents: Sequence[BinaryIO]
    options: Mapping[str, Any]
    max_size: int = MAX_DATASET_SIZE
    """Bytes of its result."""
    silence_timeout: float = SILENCE_TIMEOUT
    timeout: float = TASK_TIMEOUT

    def request(self) -> bytes:
        sizes = [content.seek(0, os.SEEK_END) for content in self.contents]
        encoded = json.dumps({"task": self.name, "sizes": sizes, "options": self.options}).encode()
        return LENGTH.pack(len(encoded)) + encoded


class _Gone(Exception):
    """The decoder had ended before it received the task."""


class _Decoder:
    """One child process, which runs one task at a time."""

    def __init__(self) -> None:
        """The calling thread has to live as long as the decoder: the kernel ends a child with its thread."""
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "portal.pixels.process", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._channel = Channel(ours)

    def run(self, task: _Task, result: BinaryIO) -> None:
        """Raises Refused and Undecodable where the decoder reports them; only then it can run another task."""
        begun = time.monotonic()
        self._socket.settimeout(task.silence_timeout)
        request = task.request()
        try:
            self._socket.sendall(request)
            head = self._channel.receive(HEAD.size)
        except (EOFError, ConnectionError) as error:
            raise _Gone from error
        left = task.max_size
        while True:
            kind, number, offset, length = HEAD.unpack(head)
            if kind == DONE:
                return
            if kind == READ:
                content = task.contents[number]
                content.seek(offset)
                data = content.read(min(length, MAX_MESSAGE_SIZE))
                self._socket.sendall(LENGTH.pack(len(data)) + data)
            else:
                left -= length
                if length > MAX_MESSAGE_SIZE or left < 0:
                    raise EOFError
                payload = self._channel.receive(length)
                if kind == DATA:
                    result.write(payload)
                elif kind == REFUSED:
                    raise Refused(payload.decode("utf-8", "replace"))
                elif kind == FAILED:
                    raise Undecodable(f"The pixels cannot be decoded: {payload.decode('utf-8', 'replace')}.")
                else:
                    raise EOFError
            if time.monotonic() - begun > task.timeout:
                raise TimeoutError
            head = self._channel.receive(HEAD.size)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()


class _Pool:
    """The decoders of one process: at most MAX_DECODERS, started when they are needed.

    A separate thread starts them, because the kernel ends a child with the thread that started it (`parent_death`).
    """

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_DECODERS)
        self._idle: list[_Decoder] = []
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoders")

    def run(self, task: _Task, result: BinaryIO, *, queue_timeout: float | None = None) -> None:
        if not self._free.acquire(timeout=queue_timeout):
            raise Busy("Other pictures are being rendered. Try again in a moment.")
        try:
            idle = self._take_idle()
            if idle is not None:
                # It may have ended by itself: then a new one gets the task.
                with contextlib.suppress(_Gone):
                    return self._ask(idle, task, result)
            try:
                return self._ask(self._starter.submit(_Decoder).result(), task, result)
            except _Gone as error:
                raise Undecodable("The pixels cannot be decoded: the decoder ended.") from error
        finally:
            self._free.release()

    def close(self) -> None:
        while (decoder := self._take_idle()) is not None:
            decoder.close()

    def _take_idle(self) -> _Decoder | None:
        # Another thread may take the last one at the same time.
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _ask(self, decoder: _Decoder, task: _Task, result: BinaryIO) -> None:
        is_usable = False
        try:
            decoder.run(task, result)
            is_usable = True
        except TimeoutError as error:
            seconds = min(task.silence_timeout, task.timeout)
            raise Undecodable(f"The pixels took longer than {seconds:.0f} s to decode.") from error
        except (EOFError, ConnectionError) as error:
            raise Undecodable("The pixels cannot be decoded: the decoder ended before it was done.") from error
        except (Refused, Undecodable):
            is_usable = True
            raise
        finally:
            if is_usable:
                self._idle.append(decoder)
            else:
                decoder.close()


_pool = _Pool()


def _start_new_pool() -> None:
    """A forked process must not use or close its parent's decoders."""
    global _pool
    _parents.append(_pool)
    _pool = _Pool()


_parents: list[_Pool] = []
os.register_at_fork(after_in_child=_start_new_pool)
atexit.register(close)
