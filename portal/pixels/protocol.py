"""The protocol between `render_pool` and the decoder process over a socket.

A request is its length and JSON; the answers are messages, each with a head. The decoder asks for the bytes of an
object as it needs them: a descriptor of its segment would give it the objects of other patients too.
"""

import io
import socket
import struct
from typing import Any, BinaryIO, cast

from portal.content_reader import ContentReader

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


class Content(ContentReader):
    """One object of a task, read from the other side, at most MAX_MESSAGE_SIZE bytes at once."""

    name = ""  # pydicom asks a buffered file for it

    def __init__(self, channel: Channel, number: int, size: int) -> None:
        super().__init__(size)
        self._channel, self._number = channel, number

    def open(self) -> BinaryIO:
        """Another reader of the same object, at its first byte."""
        return cast(BinaryIO, io.BufferedReader(Content(self._channel, self._number, self.size), BUFFER_SIZE))

    def read_at(self, at: int, size: int) -> bytes:
        return self._channel.ask(self._number, at, min(size, MAX_MESSAGE_SIZE))


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
