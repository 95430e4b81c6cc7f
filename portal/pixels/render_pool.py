"""The processes that decode vendor pixels: a few, kept warm, bounded in time and memory, and killed where they hang.

Pictures, transcoding and comparisons of pixels go through here, so that no decoder runs beside the database and the
keys. Each process that asks has its own; they end with it.
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
"""Decoders of one process of ours."""
RENDER_TIMEOUT = 20.0
"""Seconds that a picture may take."""
QUEUE_TIMEOUT = 10.0
"""Seconds that a picture waits for a decoder to be free."""
SILENCE_TIMEOUT = 60.0
"""Seconds that a decoder may say nothing: a frame takes less."""
TASK_TIMEOUT = 1800.0
"""Seconds that all frames of an object may take."""
MAX_PICTURE_SIZE = 16 << 20
MAX_DATASET_SIZE = 5 << 30
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")


class Undecodable(PortalError):
    """A decoder gave up on these pixels, or ended; the sentence says how. The same call would end the same way."""


class Refused(PortalError):
    """Nothing of the kind is done with this object; the sentence says why."""


class Unrenderable(PortalError):
    """These pixels cannot be made a picture; the same call would end the same way."""


def render(content: BinaryIO, *, frame: int, side: int, patience: float = RENDER_TIMEOUT) -> bytes:
    """A PNG of one frame (from 0) of a DICOM file, at most `side` pixels long, within some seconds.

    Raises Unshowable, Busy where every decoder is at work for too long, and what reading the file raises.
    """
    options = {"frame": frame, "side": side}
    task = _Task("render", [content], options, largest=MAX_PICTURE_SIZE, silence=patience, longest=patience)
    picture = io.BytesIO()
    try:
        _pool.run(task, picture, queue_patience=QUEUE_TIMEOUT)
    except Undecodable as error:
        raise Unrenderable(f"{error.message} Download the file.") from error
    except Refused as error:
        raise Unrenderable(error.message) from error
    return picture.getvalue()


def transcode(content: BinaryIO, result: BinaryIO, *, syntax: str, implicit: bool) -> None:
    """Write a data set that is in a transfer syntax to `result` in Explicit or Implicit VR Little Endian.

    Waits for a decoder that is free. Raises Undecodable, Refused, and what reading and writing raise.
    """
    _pool.run(_Task("transcode", [content], {"syntax": syntax, "implicit": implicit}), result)


def same_frames(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two DICOM files have the same pixels, once decoded. Raises as `transcode`."""
    answer = io.BytesIO()
    _pool.run(_Task("same_frames", [one, other], {}, largest=1), answer)
    return answer.getvalue() == b"\1"


def close() -> None:
    """End the decoders of this process; the next call starts others."""
    _pool.close()


@dataclass(frozen=True)
class _Task:
    name: str
    contents: Sequence[BinaryIO]
    options: Mapping[str, Any]
    largest: int = MAX_DATASET_SIZE
    """Bytes of its result."""
    silence: float = SILENCE_TIMEOUT
    longest: float = TASK_TIMEOUT

    def request(self) -> bytes:
        sizes = [content.seek(0, os.SEEK_END) for content in self.contents]
        encoded = json.dumps({"task": self.name, "sizes": sizes, "options": self.options}).encode()
        return LENGTH.pack(len(encoded)) + encoded


class _Gone(Exception):
    """The decoder had ended before it saw anything of the task."""


class _Decoder:
    """One child process, which does one task at a time."""

    def __init__(self) -> None:
        """To be called in a thread that lives as long as the decoder is to."""
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
        """Raises Refused and Undecodable where it said so itself, and can be asked again. After all else it cannot."""
        begun = time.monotonic()
        self._socket.settimeout(task.silence)
        head = self._first(task.request())
        left = task.largest
        while True:
            kind, number, offset, length = HEAD.unpack(head)
            if kind == READ:
                self._give(task.contents[number], offset, min(length, MAX_MESSAGE_SIZE))
            elif kind == DONE:
                return
            else:
                left -= length
                if length > MAX_MESSAGE_SIZE or left < 0:
                    raise EOFError
                self._take(kind, self._channel.receive(length), result)
            if time.monotonic() - begun > task.longest:
                raise TimeoutError
            head = self._channel.receive(HEAD.size)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _first(self, request: bytes) -> bytes:
        try:
            self._socket.sendall(request)
            return self._channel.receive(HEAD.size)
        except (EOFError, ConnectionError) as error:
            raise _Gone from error

    def _give(self, content: BinaryIO, offset: int, length: int) -> None:
        content.seek(offset)
        found = content.read(length)
        self._socket.sendall(LENGTH.pack(len(found)) + found)

    @staticmethod
    def _take(kind: bytes, payload: bytes, result: BinaryIO) -> None:
        if kind == DATA:
            result.write(payload)
        elif kind == REFUSED:
            raise Refused(payload.decode("utf-8", "replace"))
        elif kind == FAILED:
            raise Undecodable(f"The pixels cannot be decoded: {payload.decode('utf-8', 'replace')}.")
        else:
            raise EOFError


class _Pool:
    """The decoders of one process: at most MOST, started when they are needed.

    A thread of its own starts them, because the kernel ends a child with the thread that started it (`tether`).
    """

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_DECODERS)
        self._idle: list[_Decoder] = []
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoders")

    def run(self, task: _Task, result: BinaryIO, *, queue_patience: float | None = None) -> None:
        if not self._free.acquire(timeout=queue_patience):
            raise Busy("Other pictures are being made. Look again in a moment.")
        try:
            self._run(task, result)
        finally:
            self._free.release()

    def close(self) -> None:
        while (decoder := self._taken()) is not None:
            decoder.close()

    def _taken(self) -> _Decoder | None:
        """One that is idle; another thread may take the last one at the same time."""
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _run(self, task: _Task, result: BinaryIO) -> None:
        """One that was idle may have ended by itself: then a new one is asked, once."""
        idle = self._taken()
        if idle is not None:
            with contextlib.suppress(_Gone):
                return self._ask(idle, task, result)
        try:
            return self._ask(self._starter.submit(_Decoder).result(), task, result)
        except _Gone as error:
            raise Undecodable("The pixels cannot be decoded: the decoder ended.") from error

    def _ask(self, decoder: _Decoder, task: _Task, result: BinaryIO) -> None:
        kept = False
        try:
            decoder.run(task, result)
            kept = True
        except TimeoutError as error:
            seconds = min(task.silence, task.longest)
            raise Undecodable(f"The pixels took longer than {seconds:.0f} s to decode.") from error
        except (EOFError, ConnectionError) as error:
            raise Undecodable("The pixels cannot be decoded: the decoder broke off.") from error
        except (Refused, Undecodable):
            kept = True
            raise
        finally:
            if kept:
                self._idle.append(decoder)
            else:
                decoder.close()


_pool = _Pool()


def _begin_anew() -> None:
    """A process that was forked leaves its parent's decoders alone."""
    global _pool
    _parents.append(_pool)
    _pool = _Pool()


_parents: list[_Pool] = []
os.register_at_fork(after_in_child=_begin_anew)
atexit.register(close)
