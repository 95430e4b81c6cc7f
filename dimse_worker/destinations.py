"""Where a job's objects go: the storage, or the peer, that its row names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dimse_worker import scu, status
from portal.errors import PortalError
from portal.jobs.bandwidth import Bandwidth
from portal.models import Job, Peer
from portal.peers import peers
from portal.query.retrieve import Outgoing
from portal.storage import storages
from portal.storage_drivers.destination import Destination


def open_storage(job: Job) -> Destination:
    """The storage of a job, ready for use. Raises Missing or BadValue where it is gone or no longer allowed."""
    return storages.open(storages.by_id(job.params["storage"]))


def peer_for(job: Job) -> "PeerDestination":
    """The peer of a job. Raises Missing or NotAllowed where it is gone or may not be called now."""
    peer = peers.require_sendable(peers.by_id(job.params["peer"]).label)
    return PeerDestination(peer=peer, label=peer.label, rate=job.params.get("bandwidth", 0))


@dataclass(kw_only=True)
class PeerDestination:
    """A peer that objects are sent to by C-STORE."""

    peer: Peer
    label: str
    rate: int = 0
    """Bytes a second; 0 for no limit."""

    @contextmanager
    def open(self, classes: Sequence[tuple[str, str]], *, check: Callable[[], None]) -> Iterator["_Taker"]:
        bandwidth = Bandwidth(self.rate) if self.rate else None
        sender = scu.Sender(self.peer, classes, waiting=check, bandwidth=bandwidth)
        try:
            yield _Taker(sender)
        finally:
            sender.close()


class _Taker:
    def __init__(self, sender: scu.Sender) -> None:
        self._sender = sender

    def send(self, outgoing: Outgoing) -> str:
        answer = self._sender.send(outgoing)
        if answer.status == status.SUCCESS:
            return ""
        message = status.describe(answer.status, answer.comment)
        if status.is_warning(answer.status):
            return message
        raise PortalError(message, permanent=not status.is_transient(answer.status))
