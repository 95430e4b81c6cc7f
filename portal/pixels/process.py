"""The process that decodes vendor pixels: `python -m portal.pixels.process PARENT`, started by `render_pool`.

Its standard input is a socket, its only connection. For each task it forks a process that enters the sandbox before it
reads a byte, so that an object that crashes it affects no other.
"""

import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
from typing import Any, BinaryIO, cast

from portal import parent_death
from portal.errors import PortalError
from portal.pixels import decoding, sandbox
from portal.pixels.protocol import (
    BUFFER_SIZE,
    DONE,
    FAILED,
    LENGTH,
    MAX_MESSAGE_SIZE,
    REFUSED,
    Channel,
    Content,
    Result,
)

IDLE_SECONDS = 120.0
_LAZY_MODULES = ("jpeg_ls", "libjpeg", "numpy.ma", "openjpeg", "rle")
"""pydicom and NumPy load these when the first object needs them, which is too late inside the sandbox."""


def main(parent: int) -> None:
    """Serve until the parent ends or closes the socket, or no request comes for IDLE_SECONDS."""
    parent_death.die_with_parent(parent)
    for name in _LAZY_MODULES:
        importlib.import_module(name)
    connection = socket.socket(fileno=0)
    os.chdir("/")
    sandbox.limit()
    gc.freeze()
    channel = Channel(connection)
    while select.select([connection], [], [], IDLE_SECONDS)[0]:
        try:
            request = channel.receive(LENGTH.unpack(channel.receive(LENGTH.size))[0])
        except EOFError:
            return
        if not _run_in_child(channel, json.loads(request)):
            return


def _run_in_child(channel: Channel, request: dict[str, Any]) -> bool:
    """Whether the process of this task exited normally. Otherwise the content of the socket is unknown."""
    own = os.getpid()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    code = 1
    try:
        parent_death.die_with_parent(own)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        sandbox.enter()
        contents = [Content(channel, number, size) for number, size in enumerate(request["sizes"])]
        kind, message = DONE, ""
        try:
            with io.BufferedWriter(Result(channel), BUFFER_SIZE) as result:
                decoding.TASKS[request["task"]](contents, cast(BinaryIO, result), **request["options"])
        except PortalError as error:
            kind, message = REFUSED, error.message
        except MemoryError:
            kind, message = FAILED, "they need more memory than a decoder may use"
        except BaseException as error:  # noqa: BLE001 (decoders raise anything; one in Rust what is no Exception)
            kind, message = FAILED, f"the decoder failed ({type(error).__name__})"
        channel.send(kind, message.encode()[:MAX_MESSAGE_SIZE])
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
