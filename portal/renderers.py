"""The processes that render: a few, kept warm, bounded in time and memory, and killed when they take too long.

`python -m portal.renderers` is one of them: a line of JSON asks for a frame, a line of JSON and the PNG answer.
"""

import atexit
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from portal.archive import Slice
from portal.errors import BadValue, Busy, PortalError

MOST = 2
"""Renderers of one process of ours."""
PATIENCE = 20.0
"""Seconds that one frame may take."""
QUEUE_PATIENCE = 10.0
"""Seconds that a request waits for a renderer to be free."""
MEMORY = 3 << 30
CPU_SECONDS = 600
IDLE_SECONDS = 120.0
SERVED = 500
"""Frames after which a renderer ends, and another one begins with clean memory."""
LONGEST_LINE = 4096
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")


class Unshowable(PortalError):
    """These pixels cannot be made a picture; the same call would end the same way."""


def render(path: Path, offset: int, size: int, *, frame: int, side: int, patience: float = PATIENCE) -> bytes:
    """A PNG of one frame (from 0) of the DICOM file at this place, at most `side` pixels long, within some seconds.

    Raises Unshowable, and Busy where every renderer is at work for too long.
    """
    request = {"path": str(path), "offset": offset, "size": size, "frame": frame, "side": side}
    return _pool().render(request, patience)


def close() -> None:
    """End the renderers of this process; the next call starts others."""
    for pool in _pools.values():
        pool.close()
    _pools.clear()


class _Gone(Exception):
    """The renderer ended in the middle."""


class _Renderer:
    """One child process, which renders one frame at a time."""

    def __init__(self) -> None:
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "portal.renderers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self.served = 0

    def ask(self, request: dict[str, Any], patience: float) -> bytes:
        """Raises _Gone where it ends, TimeoutError where it takes too long, Unshowable with its own words."""
        self.served += 1
        deadline = time.monotonic() + patience
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise _Gone from error
        answer = json.loads(self._line(deadline))
        if "sentence" in answer:
            raise Unshowable(answer["sentence"])
        return self._read(int(answer["size"]), deadline)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self, deadline: float) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > LONGEST_LINE:
                raise _Gone
            line += self._some(1, deadline)
        return line

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            parts.append(self._some(size, deadline))
            size -= len(parts[-1])
        return b"".join(parts)

    def _some(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        found = os.read(descriptor, size)
        if not found:
            raise _Gone
        return found


class _Pool:
    """The renderers of one process: at most MOST, started when they are needed."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MOST)
        self._idle: list[_Renderer] = []

    def render(self, request: dict[str, Any], patience: float) -> bytes:
        if not self._free.acquire(timeout=QUEUE_PATIENCE):
            raise Busy("Other pictures are being made. Look again in a moment.")
        try:
            return self._render(request, patience)
        finally:
            self._free.release()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _render(self, request: dict[str, Any], patience: float) -> bytes:
        """One that was idle may have ended by itself: then a new one is asked, once."""
        if self._idle:
            with contextlib.suppress(_Gone):
                return self._ask(self._idle.pop(), request, patience)
        try:
            return self._ask(_Renderer(), request, patience)
        except _Gone as error:
            raise Unshowable("The decoder broke off at these pixels. The file itself is as it was received.") from error

    def _ask(self, renderer: _Renderer, request: dict[str, Any], patience: float) -> bytes:
        kept = False
        try:
            picture = renderer.ask(request, patience)
            kept = renderer.served < SERVED
            return picture
        except TimeoutError as error:
            raise Unshowable(f"The picture took longer than {patience:.0f} s. Download the file instead.") from error
        except Unshowable:
            kept = renderer.served < SERVED
            raise
        finally:
            if kept:
                self._idle.append(renderer)
            else:
                renderer.close()


_pools: dict[int, _Pool] = {}


def _pool() -> _Pool:
    """This process's own: one that was forked leaves its parent's alone."""
    return _pools.setdefault(os.getpid(), _Pool())


atexit.register(close)


def _bound() -> None:
    """What the process may take. It writes no file, and leaves no core with a patient's pixels in it."""
    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def _serve() -> None:
    """Answer until nobody asks any more: the pipe is closed when the asking process ends, however it ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints must not print into the answer
    _bound()
    while select.select([0], [], [], IDLE_SECONDS)[0]:
        line = os.read(0, LONGEST_LINE)
        if not line:
            return
        out.write(_answer(json.loads(line)))
        out.flush()


def _answer(request: dict[str, Any]) -> bytes:
    from portal import rendering

    try:
        with Slice(Path(request["path"]), request["offset"], request["size"]) as content:
            picture = rendering.render(content, request["frame"], request["side"])  # type: ignore[arg-type]
    except BadValue as error:
        return json.dumps({"sentence": error.sentence}).encode() + b"\n"
    except MemoryError:
        return json.dumps({"sentence": "The picture needs more memory than one may take."}).encode() + b"\n"
    except Exception:  # noqa: BLE001 (decoders raise anything; the asking side gets it in words)
        return json.dumps({"sentence": "These pixels cannot be decoded. Download the file."}).encode() + b"\n"
    return json.dumps({"size": len(picture)}).encode() + b"\n" + picture


if __name__ == "__main__":
    _serve()
