"""The storage or the peer that a job's row names, opened for its objects."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dimse_worker import scu, status
from portal.errors import PortalError
from portal.exports.params import ExportParams
from portal.jobs.bandwidth import Bandwidth
from portal.jobs.records import JobParams
from portal.models import Job, Peer
from portal.peers import peers
from portal.query.retrieve import Outgoing
from portal.storage import storages
from portal.storage_drivers.destination import Destination


def open_storage(job: Job) -> Destination:
    """The storage of a job, ready for use. Raises Missing or BadValue if it was removed or is no longer allowed."""
    return storages.open(storages.by_id(JobParams.load(job.params).storage_id))


def open_storage_unless_peer(job: Job) -> Destination | None:
    """The storage of a dry run; None for the dry run of a send, which asks the peer nothing."""
    return None if JobParams.load(job.params).peer_id else open_storage(job)


def peer_for(job: Job) -> "PeerDestination":
    """The peer of a job. Raises Missing or NotAllowed if it was removed or may not be called now."""
    params = ExportParams.load(job.params)
    peer = peers.require_sendable(peers.by_id(params.peer_id).label)
    return PeerDestination(peer=peer, label=peer.label, rate=params.bandwidth)


@dataclass(kw_only=True)
class PeerDestination:
    """A peer that objects are sent to by C-STORE."""

    peer: Peer
    label: str
    rate: int = 0
    """Bytes a second; 0 for no limit."""

    @contextmanager
    def open(self, classes: Sequence[tuple[str, str]], *, check: Callable[[], None]) -> Iterator["_ObjectSender"]:
        bandwidth = Bandwidth(self.rate) if self.rate else None
        sender = scu.Sender(self.peer, classes, waiting=check, bandwidth=bandwidth)
        try:
            yield _ObjectSender(sender)
        finally:
            sender.close()


class _ObjectSender:
    """Sends objects one by one; `send` returns the peer's warning, or an empty text."""

    def __init__(self, sender: scu.Sender) -> None:
        self._sender = sender

    def send(self, outgoing: Outgoing) -> str:
        response = self._sender.send(outgoing)
        if response.status == status.SUCCESS:
            return ""
        message = status.describe(response.status, response.comment)
        if status.is_warning(response.status):
            return message
        raise PortalError(message, permanent=not status.is_transient(response.status))
