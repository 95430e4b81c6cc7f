"""Associations that we request for storage commitment: to report to a peer that has asked us, and to ask a peer."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO

from pynetdicom.presentation import build_context

from dimse_worker import commitment, contexts, status
from dimse_worker.requestor import NO_ROLES, NoContextAccepted, Requestor
from dimse_worker.wire import commands
from dimse_worker.wire.commands import Command
from portal.commitments import commitments, confirmations, information
from portal.commitments.commitments import Report
from portal.errors import BadValue, Outage, PortalError, Unreachable
from portal.jobs.records import JobParams
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, Peer
from portal.peers import peers

AS_SCP = {information.SOP_CLASS: (False, True)}
"""Who reports proposes to be the SCP (PS3.4 J.3.3.1, PS3.7 D.3.3.4)."""
REPORT_SECONDS = 5.0
"""How long the association stays open for the report; after that the peer reports over one of its own."""


def report(this: Run) -> RunEnd:
    """Go on with a request whose association has ended: look at the instances, then report to the peer's address."""
    return commitments.run(this, report=lambda ready: _report(ready, this.check), waiting=this.check)


def question_for(job: Job) -> "PeerQuestion":
    """The peer that is to be asked. Raises Missing if it was removed."""
    peer = peers.by_id(JobParams.load(job.params).peer_id)
    return PeerQuestion(peer=peer, label=peer.label)


@dataclass(frozen=True, kw_only=True)
class PeerQuestion:
    """A peer that is asked to keep what it has taken."""

    peer: Peer
    label: str

    def ask(
        self, encode: Callable[[str], IO[bytes]], *, accepted: Callable[[], None], check: Callable[[], None]
    ) -> None:
        """As `confirmations.Question` has it."""
        with _associated(self.peer, check, scp=False) as (requestor, context_id, syntax):
            command = commands.action_request(
                information.SOP_CLASS, information.SOP_INSTANCE, commitment.REQUEST_STORAGE_COMMITMENT, message_id=1
            )
            with closing(encode(syntax)) as data_set:
                length = data_set.tell()
                response = requestor.exchange(context_id, command, data_set, length, response=commands.ACTION_RSP)
            if response.status != status.SUCCESS:
                raise _refusal(self.label, response)
            accepted()
            requestor.take_request(
                commands.EVENT_REPORT_RQ,
                lambda event, pieces: self._take(event, pieces, syntax),
                seconds=REPORT_SECONDS,
            )

    def _take(self, event: Command, pieces: Iterator[memoryview], syntax: str) -> int:
        """The status with which the report is answered."""
        try:
            with tempfile.SpooledTemporaryFile(max_size=commitment.MAX_IN_MEMORY) as file:
                for piece in pieces:
                    file.write(piece)
                    if file.tell() > information.MAX_SIZE:
                        raise BadValue("The report is too long.")
                commitment.require_known(event, is_action=False)
                confirmations.take_report(self.peer.id, file, syntax)
        except PortalError as error:
            return status.for_normalized(error)[0]
        return status.SUCCESS


def _report(ready: Report, check: Callable[[], None]) -> None:
    peer = peers.by_id(JobParams.load(ready.job.params).peer_id)
    with _associated(peer, check, scp=True) as (requestor, context_id, syntax):
        if not requestor.roles.get(information.SOP_CLASS, (False, False))[1]:
            raise Outage(f"{peer.label} does not accept us as SCP of storage commitment. Enable its role selection.")

        def send(command: bytes, data_set: IO[bytes], length: int) -> int | None:
            response = requestor.exchange(context_id, command, data_set, length, response=commands.EVENT_REPORT_RSP)
            return response.status

        commitment.send_report(ready, syntax, send)


@contextmanager
def _associated(peer: Peer, check: Callable[[], None], *, scp: bool) -> Iterator[tuple[Requestor, int, str]]:
    """An association with the context's id and its transfer syntax.

    Raises Outage for whatever an admin may mend within the day; NoContextAccepted where we ask and it has no answer.
    """
    if not peer.enabled or not peer.host:
        lacks = "is disabled. Enable it" if not peer.enabled else "has no host and port to call. Add them to the peer"
        raise Outage(f"{peer.label} {lacks}, and it is called again.")
    proposed = build_context(contexts.STORAGE_COMMITMENT, list(contexts.syntaxes_of("commit")))
    try:
        requestor = Requestor(peer, [proposed], waiting=check, roles=AS_SCP if scp else NO_ROLES)
    except NoContextAccepted as error:
        if not scp:
            raise NoContextAccepted(f"{peer.label} offers no storage commitment.") from error
        raise Outage(error.message) from error
    except Unreachable as error:
        raise Outage(error.message) from error
    [((_, syntax), context_id)] = requestor.accepted.items()
    failure = "It was interrupted."
    try:
        yield requestor, context_id, syntax
        failure = ""
        requestor.counts.done("commit")
    except PortalError as error:
        requestor.counts.failed("commit")
        failure = error.message
        if isinstance(error, Unreachable):
            raise Outage(error.message) from error
        failure = ""  # the association itself is in order
        raise
    finally:
        requestor.close(failure)


def _refusal(label: str, response: Command) -> PortalError:
    if response.status is None:
        return Unreachable(f"{label} answered the request for storage commitment without a status.")
    meaning = status.FAILURE_MEANINGS.get(response.status, "")
    words = f"{label} refused the request for storage commitment with status {response.status:04X}"
    message = f"{words}{f' ({meaning})' if meaning else ''}."
    return Outage(message) if response.status == status.RESOURCE_LIMITATION else PortalError(message)
