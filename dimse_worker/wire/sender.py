"""An object on its way out: its C-STORE request and its data set in P-DATA-TFs, without being decoded."""

from collections.abc import Callable, Iterable

from dimse_worker.wire import pdus
from dimse_worker.wire.connection import Connection

MAX_FRAGMENT_LENGTH = 131_072
"""Bytes of a data set in one P-DATA-TF, for a peer that takes more."""


def send_object(
    connection: Connection,
    context_id: int,
    command: bytes,
    pieces: Iterable[bytes | memoryview],
    length: int,
    *,
    while_sending: Callable[[], None] = lambda: None,
) -> None:
    """Send a C-STORE request and the `length` bytes of its data set, each piece as soon as it is there.

    All pieces but the last have an even length (PS3.8 D.1). Raises Ended, and what the iteration or the callback
    raises: the data set may have no end by then, so that the association has to be aborted.
    """
    step = MAX_FRAGMENT_LENGTH
    if connection.max_length:
        step = max(min(connection.max_length - pdus.DATA_OVERHEAD, step) & ~1, 2)
    head_of_full = pdus.data_head(context_id, step, 0)
    parts, left = connection.framed(context_id, command), length
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(piece), step):
            fragment = view[start : start + step]
            left -= len(fragment)
            if left and len(fragment) == step:
                parts += (head_of_full, fragment)
            else:
                parts += (pdus.data_head(context_id, len(fragment), 0 if left else pdus.IS_LAST), fragment)
        connection.send(*parts)
        parts = []
        while_sending()
    if parts:  # there was no piece
        connection.send(*parts, pdus.data_head(context_id, 0, pdus.IS_LAST))
