"""One C-STORE request over an open association, with the stored bytes as they are (PS3.7 9.1.1)."""

import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, TypeVar, cast

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from portal.errors import Damaged, PortalError, Unreachable
from portal.jobs.bandwidth import Bandwidth
from portal.query import retrieve
from portal.query.retrieve import Outgoing

ANSWER_SECONDS = 300.0
"""How long the peer may take to answer one C-STORE."""
MAX_FRAGMENT_LENGTH = 131_072
MAX_QUEUED_PDUS = 64
"""P-DATA-TFs that may wait to be sent, so that a slow reader does not fill the memory."""
POLL_SECONDS = 0.25
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


def is_open(assoc: Association) -> bool:
    """Whether an association still exists, as far as the thread that serves it can see."""
    return assoc.is_established and assoc.dul.is_alive() and not assoc.acse.is_aborted()


@contextmanager
def open_data_set(outgoing: Outgoing, syntax: str, *, waiting: WaitCallback) -> Iterator[tuple[BinaryIO, int]]:
    """The bytes of the data set in a transfer syntax, and their number: as they are stored, or transcoded.

    Raises the PortalError of the transcoding, Damaged if the stored bytes are missing or changed, and Unreachable while
    the archive's bucket cannot be reached.
    """
    if outgoing.length > MAX_INLINE_CHECK or not outgoing.is_here:
        _run_in_thread(outgoing.check, waiting)
    else:
        outgoing.check()
    if syntax != outgoing.transfer_syntax_uid:
        with _run_in_thread(lambda: retrieve.transcode(outgoing, syntax), waiting) as transcoded:
            length = transcoded.seek(0, os.SEEK_END)
            transcoded.seek(0)
            yield transcoded, length
        return
    with outgoing.open() as stored:
        yield cast(BinaryIO, stored), outgoing.length


def send_object(
    assoc: Association,
    context: PresentationContext,
    request: C_STORE,
    data: tuple[BinaryIO, int],
    *,
    while_sending: WaitCallback,
    waiting: WaitCallback,
) -> StoreResponse:
    """Send one object over an accepted context, and wait for the response.

    The caller has paused the association's own reactor. Raises Unreachable if the association ends or no response
    arrives. After that, and after an exception of one of the two callbacks, the association is unusable.
    """
    file, length = data
    for fragment in _fragments(assoc, request, context.context_id or 0, file, length):
        while assoc.dul.to_provider_queue.qsize() > MAX_QUEUED_PDUS:
            if not is_open(assoc):
                raise Unreachable("The association ended before the object was sent completely.")
            while_sending()
            time.sleep(0.001)
        assoc.dul.send_pdu(fragment)
    response = _wait_for_response(assoc, request.MessageID or 0, waiting)
    return StoreResponse(status=response.Status or 0, comment=str(response.ErrorComment or ""), size=length)


def throttled(data: tuple[BinaryIO, int], bandwidth: Bandwidth, waiting: WaitCallback) -> tuple[BinaryIO, int]:
    """The same bytes, read no faster than `bandwidth` allows."""
    file, length = data
    return cast(BinaryIO, _ThrottledFile(file, bandwidth, waiting)), length


class _ThrottledFile:
    """A file whose `read` waits for its share of the bandwidth."""

    def __init__(self, file: BinaryIO, bandwidth: Bandwidth, waiting: WaitCallback) -> None:
        self._file, self._bandwidth, self._waiting = file, bandwidth, waiting

    def read(self, size: int) -> bytes:
        piece = self._bandwidth.piece_size(size)
        chunk = self._file.read(size if piece >= size else piece & ~1)  # only the last fragment may have an odd length
        self._bandwidth.wait(len(chunk), self._waiting)
        return chunk


def store_request(outgoing: Outgoing, message_id: int, originator: MoveOriginator | None = None) -> C_STORE:
    """The command of a C-STORE; `send_object` splits its data set into fragments."""
    command = C_STORE()
    command.MessageID = message_id
    command.AffectedSOPClassUID = outgoing.sop_class_uid
    command.AffectedSOPInstanceUID = outgoing.sop_instance_uid
    command.Priority = 0
    if originator is not None:
        command.MoveOriginatorApplicationEntityTitle = originator.ae_title
        command.MoveOriginatorMessageID = originator.message_id
    command.DataSet = BytesIO()  # empty, but not None: the command says that a data set follows
    return command


def _fragments(assoc: Association, request: C_STORE, context_id: int, file: BinaryIO, length: int) -> Iterator[P_DATA]:
    """Command and data set as P-DATA of at most the length that the peer accepts (PS3.8 D.1, E.2)."""
    max_length = assoc.dimse.maximum_pdu_size
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    yield from message.encode_msg(context_id, max_length)
    step = min(max_length - 6, MAX_FRAGMENT_LENGTH) & ~1 if max_length else MAX_FRAGMENT_LENGTH
    left = length
    while left > 0:
        try:
            chunk = file.read(min(step, left))
        except PortalError:
            assoc.abort()
            raise
        if not chunk:
            assoc.abort()
            raise Damaged("The archive's file of this object is shorter than expected.")
        left -= len(chunk)
        fragment = P_DATA()
        fragment.presentation_data_value_list.append((context_id, (b"\x00" if left else b"\x02") + chunk))
        yield fragment


def _run_in_thread(function: Callable[[], Result], waiting: WaitCallback) -> Result:
    """The result of `function`, which runs in a thread of its own; `waiting` is called until it returns."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(function)
        while not future.done():
            waiting()
            wait([future], timeout=POLL_SECONDS)
        return future.result()


def _wait_for_response(assoc: Association, message_id: int, waiting: WaitCallback) -> C_STORE:
    """The C-STORE response to this message; other messages that the peer sends meanwhile are dropped."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        waiting()
        try:
            _context_id, message = assoc.dimse.msg_queue.get(timeout=POLL_SECONDS)
        except queue.Empty:
            message = None
        if isinstance(message, C_STORE) and message.MessageIDBeingRespondedTo == message_id:
            return message
        if message is None and not is_open(assoc):
            raise Unreachable("The association ended before the peer answered the C-STORE.")
    raise Unreachable(f"The peer did not answer the C-STORE within {ANSWER_SECONDS:.0f} s.")
