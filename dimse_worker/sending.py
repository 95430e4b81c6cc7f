"""What is sent by C-STORE: the bytes of one data set, as they are stored or transcoded, checked before their end."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TypeVar

from dimse_worker.wire.commands import Command
from portal import segment_checks
from portal.archive import Reader
from portal.errors import PortalError, Unreachable
from portal.jobs.bandwidth import Bandwidth
from portal.query import retrieve
from portal.query.retrieve import PIECE_SIZE, Outgoing

ANSWER_SECONDS = 300.0
"""How long the peer may take to answer one C-STORE."""
POLL_SECONDS = 0.25
MAX_READ_WHOLE = 1 << 20
"""Bytes of a data set that is checked in memory before its first byte is sent."""
MAX_INLINE_CHECK = 16 << 20
"""Bytes whose digest takes no longer than POLL_SECONDS, so that no thread is needed for it."""

Result = TypeVar("Result")
WaitCallback = Callable[[], None]
"""Called several times a second during a wait; it may raise to end the wait."""


@dataclass(frozen=True, kw_only=True)
class MoveOriginator:
    """The requestor of a C-MOVE, which each of its sub-operations names (PS3.7 9.3.1.1)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, kw_only=True)
class StoreResponse:
    status: int
    comment: str
    size: int

    @classmethod
    def of(cls, response: Command, size: int) -> "StoreResponse":
        """What a peer answered to an object of so many bytes. Raises Unreachable where that says nothing of it."""
        if response.status is None:
            raise Unreachable("The peer answered the C-STORE without a status.")
        return cls(status=response.status, comment=response.comment, size=size)


@dataclass(frozen=True, kw_only=True)
class StoreRequest:
    """One C-STORE: its command, and over which accepted presentation context it is sent."""

    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    message_id: int
    originator: MoveOriginator | None = None

    @classmethod
    def of(
        cls, outgoing: Outgoing, *, context_id: int, message_id: int, originator: MoveOriginator | None = None
    ) -> "StoreRequest":
        return cls(
            context_id=context_id,
            sop_class_uid=outgoing.sop_class_uid,
            sop_instance_uid=outgoing.sop_instance_uid,
            message_id=message_id,
            originator=originator,
        )


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The bytes of one data set, and their number.

    Iterating the pieces may raise a PortalError: what was sent of them must then never end, so the association is
    aborted. All pieces but the last have an even length.
    """

    length: int
    pieces: Iterator[bytes | memoryview]


class ObjectReader:
    """Reads the data sets of one retrieval or send, one after the other.

    Each stored byte is hashed once, on its way from the disk to the socket (docs/decisions/0106).
    """

    def __init__(self, reader: Reader, waiting: WaitCallback) -> None:
        """`reader`: of the archive; `waiting`: called during a wait for the bucket or for a transcoding."""
        self._reader, self._waiting = reader, waiting
        self._ahead: tuple[Outgoing, bytes | memoryview] | None = None

    @contextmanager
    def open(self, outgoing: Outgoing, syntax: str) -> Iterator[DataSet]:
        """The data set in a transfer syntax: as it is stored, or transcoded.

        Raises the PortalError of the transcoding, Damaged if the stored bytes are missing or changed, and Unreachable
        while the archive's bucket cannot be reached: here for what is read whole, else while the pieces are read.
        """
        length, is_here = outgoing.length, outgoing.is_here
        if syntax != outgoing.transfer_syntax_uid:
            if length > MAX_INLINE_CHECK or not is_here:
                _run_in_thread(outgoing.check, self._waiting)
            else:
                outgoing.check()
            with _run_in_thread(lambda: retrieve.transcode(outgoing, syntax), self._waiting) as transcoded:
                size = transcoded.seek(0, os.SEEK_END)
                yield DataSet(length=size, pieces=pieces_of(transcoded))
        elif length <= MAX_READ_WHOLE:
            ahead, self._ahead = self._ahead, None
            if ahead is not None and ahead[0] is outgoing:
                content = ahead[1]
            elif is_here:
                content = outgoing.read(self._reader)
            else:
                content = _run_in_thread(lambda: outgoing.read(self._reader), self._waiting)
            yield DataSet(length=length, pieces=iter((content,)))
        else:
            # A changed byte aborts the association that it is sent over. So that it cannot do so again and again, what
            # is in a segment with known damage is read twice.
            if segment_checks.is_damaged(outgoing.place.segment):
                _run_in_thread(outgoing.check, self._waiting)
            pieces = outgoing.pieces()
            yield DataSet(length=length, pieces=pieces if is_here else _read_in_thread(pieces, self._waiting))

    def read_ahead(self, outgoing: Outgoing | None, accepted: Mapping[tuple[str, str], int]) -> None:
        """Read the next object while the peer still stores the one before, if it is small and sent as it is stored.

        What cannot be read is left to `open`. `accepted`: as `contexts.choose` takes it.
        """
        if outgoing is None or (outgoing.sop_class_uid, outgoing.transfer_syntax_uid) not in accepted:
            return
        if outgoing.length <= MAX_READ_WHOLE and outgoing.is_here:
            with contextlib.suppress(PortalError):
                self._ahead = outgoing, outgoing.read(self._reader)


def throttled(data: DataSet, bandwidth: Bandwidth, waiting: WaitCallback) -> DataSet:
    """The same bytes, no faster than `bandwidth` allows."""

    def slow_pieces() -> Iterator[bytes | memoryview]:
        for piece in data.pieces:
            step = max(bandwidth.piece_size(len(piece)) & ~1, 2)
            for start in range(0, len(piece), step):
                part = piece[start : start + step]
                bandwidth.wait(len(part), waiting)
                yield part

    return DataSet(length=data.length, pieces=slow_pieces())


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """A file from its start, in pieces of an even length."""
    file.seek(0)
    while piece := file.read(PIECE_SIZE):
        yield piece


def _read_in_thread(pieces: Iterator[bytes], waiting: WaitCallback) -> Iterator[bytes]:
    """The same pieces; `waiting` is called while one of them does not come from the bucket."""
    while piece := _run_in_thread(lambda: next(pieces, b""), waiting):
        yield piece


def _run_in_thread(function: Callable[[], Result], waiting: WaitCallback) -> Result:
    """The result of `function`, which runs in a thread of its own; `waiting` is called until it returns."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(function)
        while not future.done():
            waiting()
            wait([future], timeout=POLL_SECONDS)
        return future.result()
