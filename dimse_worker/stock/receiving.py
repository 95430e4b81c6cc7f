"""Limits on received messages while they arrive: pynetdicom would keep a message of any size in memory."""

import tempfile
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydicom.dataset import Dataset
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, N_ACTION_RQ, N_EVENT_REPORT_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL

from portal import runtime
from portal.commitments import information
from portal.errors import NoSpace, PortalError
from portal.ingest import disk_reserve

if TYPE_CHECKING:
    from pynetdicom.pdu_primitives import P_DATA

MAX_IN_MEMORY = 8 << 20
"""Bytes of a data set that is kept in memory; a larger one is kept in an unnamed temporary file."""
MAX_COMMAND_SIZE = 64 << 10
MAX_IDENTIFIER_SIZE = 1 << 20
"""Bytes of the data set of a command other than C-STORE: enough for a list of 15,000 UIDs."""
MAX_COMMITMENT_SIZE = 2 * information.MAX_SIZE
"""Bytes of the data set of an N-ACTION or N-EVENT-REPORT: what is longer than one may be is answered with a status."""
MAX_WAITING_REQUESTS = 8
"""Requests that a peer may send before it has a response; without negotiation it is one (PS3.7 D.3.3.3)."""
CHUNK_SIZE = 1 << 20
DISK_CHECK_BYTES = 16 << 20


class MessageTooLarge(Exception):
    """A message has too many bytes, or too many messages wait.

    It ends the thread that reads, and with it the association.
    """


class ReceivedDataSet(BytesIO):
    """The encoded data set of a message, as pynetdicom writes it.

    Bytes that cannot be kept are dropped, so that the association goes on: `chunks` then raises the reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._file: BinaryIO | None = None
        self._failure: PortalError | None = None

    def write(self, data: Any) -> int:
        self.size += len(data)
        if self._failure is not None:
            return len(data)
        if self._file is None and self.size <= MAX_IN_MEMORY:
            return super().write(data)
        try:
            if self._file is None:
                folder = runtime.current().archive
                self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder, buffering=0))  # noqa: SIM115
                self._file.write(self.getbuffer())
                self.seek(0)
                self.truncate()
            if self.size // DISK_CHECK_BYTES != (self.size - len(data)) // DISK_CHECK_BYTES:
                disk_reserve.check_without_database()
            self._file.write(data)
        except PortalError as error:
            self._fail(error)
        except OSError as error:
            self._fail(NoSpace(f"The disk cannot be written ({error.strerror}), so the object is not stored."))
        return len(data)

    def chunks(self) -> Iterator[bytes]:
        """All bytes. Raises NoSpace if they were not kept."""
        if self._failure is not None:
            raise self._failure
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(CHUNK_SIZE):
                yield chunk
            return
        with self.getbuffer() as data:
            for start in range(0, len(data), CHUNK_SIZE):
                yield bytes(data[start : start + CHUNK_SIZE])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def _fail(self, failure: PortalError) -> None:
        self._failure = failure
        if self._file is not None:
            self._file.close()


class BoundedMessages(DIMSEServiceProvider):
    """pynetdicom's receiver of messages, with limits, and with each C-CANCEL from its arrival on."""

    @property
    def cancel_req(self) -> dict[int, C_CANCEL]:
        """Those that arrived since the request that they name, by its message id."""
        return self._cancelled

    @cancel_req.setter
    def cancel_req(self, _empty: dict[int, C_CANCEL]) -> None:
        """pynetdicom empties it when it begins with a request: one that has arrived by then would be lost."""
        if not hasattr(self, "_cancelled"):
            self._cancelled: dict[int, C_CANCEL] = {}

    def message_arrived(self, command_set: Dataset) -> None:
        """Called for each message before it is queued: earlier cancels do not mean this request."""
        if "MessageID" in command_set:
            self._cancelled.pop(command_set.MessageID, None)
        elif len(self._cancelled) >= MAX_WAITING_REQUESTS:
            self._cancelled.pop(next(iter(self._cancelled)))

    def receive_primitive(self, primitive: "P_DATA") -> None:
        """Take the next fragments. Raises MessageTooLarge."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = ReceivedDataSet()
        message = self.message
        super().receive_primitive(primitive)
        if self.message is message:  # it is not complete yet
            command_size = message.encoded_command_set.tell()
            size = cast(ReceivedDataSet, message.data_set).size
            limit = MAX_COMMITMENT_SIZE if isinstance(message, N_ACTION_RQ | N_EVENT_REPORT_RQ) else MAX_IDENTIFIER_SIZE
            too_large = size > limit and not isinstance(message, C_STORE_RQ)
            if command_size > MAX_COMMAND_SIZE or too_large:
                raise MessageTooLarge(f"{command_size} and {size} bytes")
        if self.msg_queue.qsize() > MAX_WAITING_REQUESTS:
            raise MessageTooLarge(f"more than {MAX_WAITING_REQUESTS} requests that wait")
