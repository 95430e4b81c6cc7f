"""Messages out of fragments: a command set, which is kept, then its data set, which is passed on as it comes."""

from collections.abc import Iterator

from dimse_worker.wire import commands, pdus
from dimse_worker.wire.commands import BadCommand, Command
from dimse_worker.wire.connection import Connection, Ended


class Messages:
    """What a peer sends over one connection. Each data set is read, or skipped, before the next command.

    Every method raises Ended where the association cannot go on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._context_id = 0
        self._has_data_left = False

    def next_command(self) -> tuple[int, Command]:
        """The next command and its presentation context's id; what is left of the data set before it is skipped."""
        self.skip_data_set()
        encoded = bytearray()
        while True:
            fragment = self._connection.read()
            if not fragment.is_command or (encoded and fragment.context_id != self._context_id):
                raise bad_message("a fragment that does not belong to its message")
            self._context_id = fragment.context_id
            encoded += fragment.data
            if len(encoded) > commands.MAX_SIZE:
                raise bad_message("a command set that is too long")
            if fragment.is_last:
                break
        try:
            command = commands.decode(encoded)
        except BadCommand as error:
            raise bad_message("a command set that cannot be decoded") from error
        self._has_data_left = command.has_data_set
        return self._context_id, command

    def data_set(self) -> Iterator[memoryview]:
        """The rest of the current message's data set; each piece is valid until the next one."""
        while self._has_data_left:
            fragment = self._connection.read()
            if fragment.is_command or fragment.context_id != self._context_id:
                raise bad_message("a fragment that does not belong to its message")
            self._has_data_left = not fragment.is_last
            yield fragment.data

    def read_data_set(self, limit: int) -> bytes:
        """The whole data set, of at most `limit` bytes."""
        whole = bytearray()
        for piece in self.data_set():
            whole += piece
            if len(whole) > limit:
                raise bad_message("a data set that is too long")
        return bytes(whole)

    def skip_data_set(self) -> None:
        for _piece in self.data_set():
            pass


def bad_message(what: str) -> Ended:
    """The end of an association whose peer sent a message that cannot be read."""
    message = f"We aborted it: the peer sent {what}."
    return Ended(message, pdus.abort(pdus.SERVICE_PROVIDER, pdus.INVALID_PARAMETER))
