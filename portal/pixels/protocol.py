"""The protocol between `render_pool` and the decoder process over a socket.

A request is its length and JSON; the answers are messages, each with a head. The decoder asks for the bytes of an
object as it needs them: a descriptor of its segment would give it the objects of other patients too.
"""

import io
import os
import socket
import struct
from typing import Any, BinaryIO, cast

MAX_MESSAGE_SIZE = 1 << 20
BUFFER_SIZE = 1 << 16
LENGTH = struct.Struct(">I")
HEAD = struct.Struct(">cBQI")
"""Kind of the message, number of a content and offset in it (of READ only), and length."""
READ, DATA, DONE, REFUSED, FAILED = b"R", b"D", b"E", b"S", b"F"
"""Request for bytes of a content; bytes of the result; success; refusal with a message; failure with a message."""


class Channel:
    """One side of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        self.connection.sendall(HEAD.pack(kind, 0, 0, len(payload)) + payload)

    def ask(self, number: int, offset: int, length: int) -> bytes:
        """Bytes of a content; fewer only at its end."""
        self.connection.sendall(HEAD.pack(READ, number, offset, length))
        return self.receive(LENGTH.unpack(self.receive(LENGTH.size))[0])

    def receive(self, length: int) -> bytes:
        """Exactly `length` bytes. Raises EOFError where the other side has closed the socket."""
        parts: list[bytes] = []
        while length:
            part = self.connection.recv(length)
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


class Content(io.RawIOBase):
    """One object of a task, read from the other side."""

    name = ""  # pydicom asks a buffered file for it

    def __init__(self, channel: Channel, number: int, size: int) -> None:
        self._channel, self._number, self._size = channel, number, size
        self._at = 0

    def open(self) -> BinaryIO:
        """Another reader of the same object, at its first byte."""
        return cast(BinaryIO, io.BufferedReader(Content(self._channel, self._number, self._size), BUFFER_SIZE))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("an offset before the first byte")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at), MAX_MESSAGE_SIZE)
        data = self._channel.ask(self._number, self._at, wanted) if wanted else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Result(io.RawIOBase):
    """The result of a task, written to the other side."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = memoryview(data)[:MAX_MESSAGE_SIZE]
        self._channel.send(DATA, bytes(part))
        return len(part)
