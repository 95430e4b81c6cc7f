"""pynetdicom's part of a listening process, where our own code for the network is switched off."""

import logging
import socket
import threading
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dimse_worker import association_policy, contexts
from dimse_worker.heartbeat import Heartbeat
from dimse_worker.stock.acceptor import Acceptor
from dimse_worker.stock.sockets import PeerSocket, secure
from dimse_worker.tls.failures import HandshakeFailed
from dimse_worker.tls.sockets import TlsSocket
from dimse_worker.wire.admissions import MAX_ASSOCIATIONS, Admissions
from portal.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from portal.peers.associations import Progress

log = logging.getLogger(__name__)

NEGOTIATE_SECONDS = 30
MAX_HANDSHAKES = 256
"""TLS handshakes at a time, each with a thread; a further connection is closed."""
IDLE_SECONDS = 600


class StockServer:
    """pynetdicom's threads: the same as `FastServer`, at a multiple of its cost."""

    def __init__(
        self, listening: socket.socket, heartbeat: Heartbeat, admissions: Admissions, *, is_tls: bool = False
    ) -> None:
        configure_pynetdicom()
        threading.excepthook = handle_thread_failure
        entity = self._entity = ApplicationEntity(ae_title="PORTICO")
        entity.add_supported_context(contexts.VERIFICATION)
        entity.maximum_associations = 2 * MAX_ASSOCIATIONS  # `Acceptor.negotiate` has the limit that is recorded
        entity.maximum_pdu_size = contexts.MAX_PDU_LENGTH
        entity.acse_timeout = NEGOTIATE_SECONDS
        entity.network_timeout = entity.dimse_timeout = IDLE_SECONDS
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION.decode().strip()
        self._server = Server(entity, listening, heartbeat, admissions, is_tls=is_tls)

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def progress(self) -> list[Progress]:
        return [assoc.counts.progress(assoc.row_id) for assoc in self._acceptors() if assoc.row_id is not None]

    def stop_accepting(self) -> None:
        self._server.shutdown()

    @property
    def is_idle(self) -> bool:
        return not any(assoc.has_begun for assoc in self._acceptors())

    def abort(self, reason: str) -> None:
        running = [assoc for assoc in self._acceptors() if assoc.has_begun]
        for assoc in running:
            assoc.set_end_reason(reason)
            threading.Thread(target=assoc.abort, daemon=True).start()
        for assoc in running:
            cast(Any, assoc).join(2.0)

    def close(self) -> None:
        """Does nothing: its associations write their rows themselves."""

    def _acceptors(self) -> list[Acceptor]:
        return [assoc for assoc in self._entity.active_associations if isinstance(assoc, Acceptor)]


class Server(ThreadedAssociationServer):
    """pynetdicom's server on a socket that the parent has bound, with our association and socket classes."""

    daemon_threads = True

    def __init__(
        self,
        entity: ApplicationEntity,
        listening: socket.socket,
        heartbeat: Heartbeat,
        admissions: Admissions,
        *,
        is_tls: bool = False,
    ) -> None:
        self.admissions, self.is_tls = admissions, is_tls
        self.handshakes = threading.BoundedSemaphore(MAX_HANDSHAKES)
        self._listening, self._heartbeat = listening, heartbeat
        super().__init__(
            entity, listening.getsockname(), entity.ae_title, entity.supported_contexts, request_handler=_Handler
        )

    def server_bind(self) -> None:
        cast(socket.socket, self.socket).close()
        # Of the processes that see a connection one accepts it; another one would wait for the next, without heartbeat.
        self._listening.setblocking(False)
        self.socket = self._listening
        self.server_address = self._listening.getsockname()

    def server_activate(self) -> None:
        """Does nothing: the parent listens already, with its own backlog."""

    def service_actions(self) -> None:
        """Called several times a second by the thread that accepts connections, as long as it runs."""
        self._heartbeat.beat()

    def shutdown(self) -> None:
        """As in socketserver; pynetdicom's also looks for itself among the servers that the AE started."""
        BaseServer.shutdown(self)
        self.server_close()

    def server_close(self) -> None:
        """Close only our descriptor: a shutdown would affect the other processes that share the socket."""
        self._listening.close()


class _Handler(RequestHandler):
    def handle(self) -> None:
        """As pynetdicom's, after the TLS handshake on the TLS port."""
        server = cast(Server, self.server)
        if server.is_tls:
            if not server.handshakes.acquire(blocking=False):
                self.request.close()
                return
            address = str(self.client_address[0])
            try:
                self.request = secure(self.request)
            except HandshakeFailed as failure:
                association_policy.record_handshake_failure(address, str(failure))
            finally:
                server.handshakes.release()
            if not isinstance(self.request, TlsSocket):
                self.request.close()
                return
        super().handle()

    def _create_association(self) -> Association:
        """As pynetdicom's, with our two classes, but without a copy of the contexts: `Acceptor.negotiate` sets them."""
        assoc = Acceptor(self.ae, cast(Server, self.server).admissions)
        assoc._server = self.server
        assoc.name = f"AcceptorThread {self.client_address[0]}"  # pynetdicom finds its threads by this name
        assoc.set_socket(PeerSocket(assoc, client_socket=self.request))
        assoc.secured = self.request.secured if isinstance(self.request, TlsSocket) else None
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = self.server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.requestor.address_info = self.remote
        return assoc


def handle_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """Abort an association whose protocol thread ended on data that it cannot decode; otherwise it would hang."""
    thread = failure.thread
    name = failure.exc_type.__name__
    if isinstance(thread, DULServiceProvider) and isinstance(thread.assoc, Acceptor):
        log.warning("aborted %s: it sent data that cannot be decoded (%s)", thread.assoc.requestor.address, name)
        thread.assoc.fail()
    elif failure.exc_value is not None:
        log.error("a thread ended", exc_info=failure.exc_value)


def configure_pynetdicom() -> None:
    """pynetdicom's settings of a process: it logs no data, and does not check AE titles and UIDs."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    # The association policy and the domain check them, and answer with a status or rejection instead of an abort.
    _config.VALIDATORS["AE"] = _config.VALIDATORS["UI"] = lambda _value: (True, "")
