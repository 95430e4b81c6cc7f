"""We as service class user: echo a peer, and send objects to one."""

import time
from collections.abc import Iterable
from contextlib import ExitStack

from pydicom.uid import UID
from pynetdicom.presentation import build_context

from dimse_worker import contexts, sending, status
from dimse_worker.requestor import NoContextAccepted, Requestor
from dimse_worker.sending import MoveOriginator, ObjectReader, StoreRequest, StoreResponse, WaitCallback
from portal import runtime
from portal.errors import NotAllowed, Outage, Unreachable
from portal.jobs.bandwidth import Bandwidth
from portal.models import Peer
from portal.query import retrieve

ECHO_SECONDS = 10
"""For the negotiation and for the response to a C-ECHO: somebody waits for it, and so do other short jobs."""


class Sender:
    """Sends objects to one peer over as many associations as their contexts need, each opened when it is needed.

    `pairs`: each (SOP Class, transfer syntax) that will be sent. The caller closes it.
    """

    def __init__(
        self,
        peer: Peer,
        pairs: Iterable[tuple[str, str]],
        *,
        waiting: WaitCallback = lambda: None,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self._peer, self._waiting, self._bandwidth = peer, waiting, bandwidth
        self._batches = contexts.for_sending(pairs)
        self._numbers = {
            str(context.abstract_syntax): number for number, batch in enumerate(self._batches) for context in batch
        }
        """The batch that proposes a SOP Class."""
        self._requestors: dict[int, Requestor] = {}
        """By the number of the batch of contexts that it proposes."""
        self._refused: set[int] = set()
        """Batches of which the peer accepts no context."""
        self._message_id = 0
        self._outage: Outage | None = None
        self._reading = ExitStack()
        self._reader = ObjectReader(self._reading.enter_context(runtime.archive().reader()), waiting)

    def send(
        self,
        outgoing: retrieve.Outgoing,
        following: retrieve.Outgoing | None = None,
        *,
        originator: MoveOriginator | None = None,
    ) -> StoreResponse:
        """Send one object and return the peer's response, whatever its status. `following`: the next one, if known.

        Raises NotAllowed if the peer accepts the class in no transfer syntax that we can send, Unreachable if the peer
        cannot be reached (then at once for each further object), and the PortalError of a transcoding.
        """
        requestor, context_id, syntax = self._negotiated(outgoing)
        self._message_id = self._message_id % 65535 + 1
        request = StoreRequest.of(outgoing, context_id=context_id, message_id=self._message_id, originator=originator)
        with self._reader.open(outgoing, syntax) as data:
            if self._bandwidth is not None:
                data = sending.throttled(data, self._bandwidth, self._waiting)
            try:
                requestor.store(request, data)
                self._reader.read_ahead(following, requestor.accepted)
                response = requestor.store_response(request, data)
            except BaseException as error:  # after a part of an object the association is unusable
                requestor.counts.failed("store")
                self._requestors.pop(self._numbers[outgoing.sop_class_uid]).close(
                    f"An object could not be sent completely. {error}"
                )
                raise

        if response.status == status.SUCCESS or status.is_warning(response.status):
            requestor.counts.done("store", size=response.size)
        else:
            requestor.counts.failed("store")
        requestor.refresh()
        return response

    def close(self) -> None:
        for requestor in self._requestors.values():
            requestor.close()
        self._requestors.clear()
        self._reading.close()

    def _negotiated(self, outgoing: retrieve.Outgoing) -> tuple[Requestor, int, str]:
        """The association for an object, the context's id and the transfer syntax to send it in. Raises as `send`."""
        number = self._numbers.get(outgoing.sop_class_uid)
        if number is None:
            raise NotAllowed(f"The SOP Class {outgoing.sop_class_uid} was not proposed to {self._peer.label}.")
        try:
            requestor = self._requestor(number)
        except NoContextAccepted as error:
            raise self._not_accepted(number, outgoing) from error
        chosen = contexts.choose(requestor.accepted, outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if chosen is None:
            requestor.counts.failed("store")
            raise self._not_accepted(number, outgoing)
        return requestor, *chosen

    def _not_accepted(self, number: int, outgoing: retrieve.Outgoing) -> NotAllowed:
        """Names what was proposed, so that somebody can configure the peer."""
        sop_class = outgoing.sop_class_uid
        proposed = [context for context in self._batches[number] if context.abstract_syntax == sop_class]
        names = ", ".join(UID(syntax).name for context in proposed for syntax in context.transfer_syntax)
        return NotAllowed(f"{self._peer.label} accepts {UID(sop_class).name} in none of: {names}.")

    def _requestor(self, number: int) -> Requestor:
        """The association of one batch. One that has ended is requested once more; after a failure none is."""
        if self._outage:
            raise Outage(self._outage.message, permanent=self._outage.permanent)
        requestor = self._requestors.get(number)
        if requestor is not None and requestor.is_open:
            return requestor
        if requestor is not None:
            self._requestors.pop(number).close()
        if number in self._refused:
            raise NoContextAccepted(f"{self._peer.label} accepts none of the contexts that are proposed to it.")
        try:
            self._requestors[number] = Requestor(self._peer, self._batches[number], waiting=self._waiting)
        except NoContextAccepted:
            self._refused.add(number)
            raise
        except Outage as error:
            self._outage = error
            raise
        return self._requestors[number]


def echo(peer: Peer) -> str:
    """C-ECHO a peer; returns a message with the round-trip time, raises Unreachable with the reason in words."""
    started = time.monotonic()
    verification = build_context(contexts.VERIFICATION, list(contexts.UNCOMPRESSED))
    requestor = Requestor(peer, [verification], negotiate_seconds=ECHO_SECONDS)
    try:
        code = requestor.echo(next(iter(requestor.accepted.values())), seconds=ECHO_SECONDS)
    except Unreachable:
        requestor.counts.failed("echo")
        requestor.close("The peer did not answer the C-ECHO.")
        raise
    if code != status.SUCCESS:
        requestor.counts.failed("echo")
        requestor.close()
        raise Unreachable(f"{peer.label} answered the C-ECHO with status {code:04X}.")
    requestor.counts.done("echo")
    requestor.close()
    milliseconds = round((time.monotonic() - started) * 1000)
    return f"{peer.ae_title} at {peer.host}:{peer.port} answered the C-ECHO in {milliseconds} ms."
