"""An association that we request: its negotiation, C-ECHO and C-STORE over it, its end."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context

from dimse_worker.tls.sockets import Transport
from dimse_worker.wire import commands, pdus
from dimse_worker.wire.commands import Command
from dimse_worker.wire.connection import Connection, Ended, ReleaseRequested
from dimse_worker.wire.messages import Messages
from dimse_worker.wire.sender import send_object

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
NO_REASON = 2
"""Result of a presentation context that the provider rejects without a reason (PS3.8 9.3.3.2)."""
RELEASE_SECONDS = 5.0
MAX_ANSWER_LENGTH = 1 << 20
"""Bytes of an A-ASSOCIATE-AC, and of each PDU that a peer may still send before it answers a release."""


@dataclass(frozen=True, kw_only=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ says."""

    calling: str
    called: str
    contexts: Sequence[PresentationContext]
    """Without ids; each with one transfer syntax or more."""
    max_length: int
    """Bytes of the longest P-DATA-TF that we take."""
    implementation_class_uid: str
    implementation_version: str
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    """SOP Class UID → whether we propose to be its SCU, and its SCP (PS3.7 D.3.3.4); others: SCU alone."""


class Rejected(Exception):
    """The peer rejected the association; `code` is result, source and diagnostic (PS3.8 9.3.4)."""

    def __init__(self, code: tuple[int, int, int]) -> None:
        super().__init__("The peer rejected the association.")
        self.code = code


class NoResponse(Exception):
    """The peer has not answered in time."""


class RequestedAssociation:
    """An association that we have requested, for one thread, which closes it by `release` or `abort`."""

    def __init__(
        self,
        connected: Transport,
        request: AssociateRequest,
        *,
        seconds: float,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Negotiate over a connected socket, which is closed if that fails.

        `seconds`: for the peer's answer; `waiting`: called several times a second during each wait of the association,
        and may raise to end it. Raises Rejected, NoResponse, and Ended if the peer ends it without an answer.
        """
        self.answered: list[PresentationContext] = []
        """The proposed contexts, each with its result; the accepted ones with the transfer syntax that it chose."""
        self.accepted: dict[tuple[str, str], int] = {}
        """SOP Class and transfer syntax → presentation context's id."""
        self.roles: dict[str, tuple[bool, bool]] = {}
        """SOP Class UID → the roles of ours that the peer accepts, of those that were proposed."""
        self._socket, self._waiting = connected, waiting
        self._connection = Connection(connected, waiting=self._wait)
        self._messages = Messages(self._connection)
        self._is_over = False
        try:
            self._deadline = time.monotonic() + seconds
            for index, context in enumerate(request.contexts):
                context.context_id = 2 * index + 1
            self._connection.send(_encode(request))
            self._negotiate(request.contexts)
        except Rejected:
            self._close()
            raise
        except BaseException:
            self.abort()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it still exists, as far as the peer has told us."""
        try:
            while not self._is_over and self._connection.poll():
                self._messages.next_command()  # nobody waits for it
        except ReleaseRequested:
            self._connection.send(pdus.RELEASE_RESPONSE)
            self._close()
        except (Ended, NoResponse):
            self.abort()
        return not self._is_over

    def echo(self, context_id: int, sop_class_uid: str, *, seconds: float) -> Command:
        """The response to a C-ECHO. Raises Ended and NoResponse."""
        self._deadline = time.monotonic() + seconds
        self._connection.send_message(context_id, commands.echo_request(sop_class_uid, 1))
        return self._response(commands.ECHO_RSP, 1)

    def store(self, context_id: int, command: bytes, pieces: Iterable[bytes | memoryview], length: int) -> None:
        """Send one object, as `sender.send_object`; its response is still to be waited for. Raises Ended."""
        self._deadline = float("inf")  # the connection has one for each part
        send_object(self._connection, context_id, command, pieces, length, while_sending=self._waiting)

    def store_response(self, message_id: int, *, seconds: float) -> Command:
        """The response to a C-STORE. Raises Ended and NoResponse."""
        self._deadline = time.monotonic() + seconds
        return self._response(commands.STORE_RSP, message_id)

    def exchange(
        self, context_id: int, command: bytes, pieces: Iterable[bytes], length: int, *, response: int, seconds: float
    ) -> Command:
        """Send a request whose message id is 1 with its data set; its response. Raises Ended and NoResponse."""
        self._deadline = float("inf")
        send_object(self._connection, context_id, command, pieces, length, while_sending=self._waiting)
        self._deadline = time.monotonic() + seconds
        return self._response(response, 1)

    def next_request(self, field: int, *, seconds: float) -> tuple[int, Command]:
        """The next request of that kind that the peer sends over it, before its data set. Raises Ended, NoResponse."""
        self._deadline = time.monotonic() + seconds
        while True:
            context_id, command = self._messages.next_command()
            if command.field == field:
                return context_id, command
            self._wait()

    def data_set(self) -> Iterator[memoryview]:
        """The data set of that request, piece by piece. Raises Ended and NoResponse."""
        return self._messages.data_set()

    def respond(self, context_id: int, request: Command, status: int) -> None:
        """Respond to that request. Raises Ended."""
        self._messages.skip_data_set()
        self._connection.send_message(context_id, commands.response(request, status))

    def release(self) -> bool:
        """End it in an orderly way; whether the peer agrees in time. The connection is closed in any case."""
        self._waiting, self._deadline = lambda: None, time.monotonic() + RELEASE_SECONDS
        kind = pdus.DATA
        try:
            self._connection.send(pdus.RELEASE_REQUEST)
            while kind not in (pdus.RELEASE_RP, pdus.ABORT):
                self._wait()
                kind, _content = self._connection.read_pdu(MAX_ANSWER_LENGTH)
                if kind == pdus.RELEASE_RQ:  # both ask at once (PS3.8 9.2.2)
                    self._connection.send(pdus.RELEASE_RESPONSE)
        except (Ended, NoResponse):
            self.abort()
            return False
        self._close()
        return kind == pdus.RELEASE_RP

    def abort(self) -> None:
        """End it at once. The peer is told, unless it does not even read."""
        if not self._is_over:
            self._socket.setblocking(False)
            with contextlib.suppress(OSError):  # its side is closed, or full of what it has not read
                self._socket.send(pdus.abort())
        self._close()

    def _close(self) -> None:
        self._is_over = True
        self._connection.close()

    def _wait(self) -> None:
        self._waiting()
        if time.monotonic() > self._deadline:
            raise NoResponse

    def _response(self, field: int, message_id: int) -> Command:
        """The response to one request; other messages that the peer sends meanwhile are dropped."""
        while True:
            _context_id, command = self._messages.next_command()
            if command.field == field and command.responded_to == message_id:
                self._messages.skip_data_set()
                return command
            self._wait()

    def _negotiate(self, proposed: Sequence[PresentationContext]) -> None:
        kind, content = self._connection.read_pdu(MAX_ANSWER_LENGTH)
        if kind == pdus.ASSOCIATE_RJ and len(content) == pdus.CONTROL_LENGTH:
            raise Rejected((content[1], content[2], content[3]))
        if kind != pdus.ASSOCIATE_AC:
            raise Ended("The peer answered the request for an association with something else.")
        try:
            pdu = A_ASSOCIATE_AC()
            pdu.decode(pdus.HEADER.pack(kind, len(content)) + content)
            answer = pdu.to_primitive()
            results = {one.context_id: one for one in answer.presentation_context_definition_results_list}
            self._connection.max_length = answer.maximum_length_received or 0
            for one in answer.user_information:
                if isinstance(one, SCP_SCU_RoleSelectionNegotiation):
                    self.roles[str(one.sop_class_uid)] = bool(one.scu_role), bool(one.scp_role)
        except Exception as error:  # whatever pynetdicom raises for what it cannot decode
            raise Ended("The peer answered the request for an association with what cannot be decoded.") from error
        if 0 < self._connection.max_length < pdus.MIN_MAX_LENGTH:
            raise Ended("The peer takes too short PDUs.")

        for context in proposed:
            result = results.get(context.context_id)
            sop_class, syntaxes = str(context.abstract_syntax), [str(syntax) for syntax in context.transfer_syntax]
            if result is not None and result.result == 0:
                syntaxes = [str(syntax) for syntax in result.transfer_syntax if str(syntax) in syntaxes][:1]
                if syntaxes:
                    self.accepted[sop_class, syntaxes[0]] = context.context_id or 0
            answered = build_context(sop_class, syntaxes)
            answered.result = NO_REASON if result is None else result.result
            self.answered.append(answered)


def _encode(request: AssociateRequest) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = request.calling, request.called
    primitive.presentation_context_definition_list = list(request.contexts)
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    version = ImplementationVersionNameNotification()
    length.maximum_length_received = request.max_length
    implementation.implementation_class_uid = request.implementation_class_uid
    version.implementation_version_name = request.implementation_version
    primitive.user_information = [length, implementation, version]
    for sop_class_uid, (as_scu, as_scp) in request.roles.items():
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = sop_class_uid, as_scu, as_scp
        primitive.user_information.append(role)
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded
