"""The process that decodes vendor pixels: `python -m portal.pixels.process PARENT`, started by `renderers`.

Its standard input is a socket, and its only way out. For each task it forks a process that shuts itself in before it
looks at a byte, so that an object that breaks it breaks no other.
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
_LOADED_LATE = ("jpeg_ls", "libjpeg", "numpy.ma", "openjpeg", "rle")
"""What pydicom and NumPy load when the first object needs it, which is too late in a process that is shut in."""


def main(parent: int) -> None:
    """Serve until nobody asks any more: the socket is closed when the parent ends, however it ends."""
    parent_death.die_with_parent(parent)
    for name in _LOADED_LATE:
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
        if not _done_by_child(channel, json.loads(request)):
            return


def _done_by_child(channel: Channel, request: dict[str, Any]) -> bool:
    """Whether the process of this task ended in order. After another end nobody knows what stands in the socket."""
    own = os.getpid()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    code = 1
    try:
        parent_death.die_with_parent(own)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        sandbox.enter()
        channel.send(*_answer(channel, request))
        code = 0
    finally:
        os._exit(code)


def _answer(channel: Channel, request: dict[str, Any]) -> tuple[bytes, bytes]:
    contents = [Content(channel, number, size) for number, size in enumerate(request["sizes"])]
    try:
        with io.BufferedWriter(Result(channel), BUFFER_SIZE) as result:
            decoding.TASKS[request["task"]](contents, cast(BinaryIO, result), **request["options"])
    except PortalError as error:
        return REFUSED, error.message.encode()[:MAX_MESSAGE_SIZE]
    except MemoryError:
        return FAILED, b"they need more memory than a decoder may take"
    except BaseException as error:  # noqa: BLE001 (decoders raise anything; one in Rust what is no Exception)
        return FAILED, f"the decoder gave up ({type(error).__name__})".encode()
    return DONE, b""


if __name__ == "__main__":
    main(int(sys.argv[1]))
