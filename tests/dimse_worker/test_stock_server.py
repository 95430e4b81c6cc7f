"""pynetdicom's server on the socket that the processes of the listener share."""

import socket

import pytest
from pynetdicom.ae import ApplicationEntity

from dimse_worker import contexts
from dimse_worker.heartbeat import Heartbeat
from dimse_worker.stock.server import Server
from dimse_worker.wire.admissions import Admissions


@pytest.mark.timeout(20)
def test_a_connection_that_another_process_has_accepted_holds_up_nobody() -> None:
    entity = ApplicationEntity(ae_title="PORTICO")
    entity.add_supported_context(contexts.VERIFICATION)
    admissions = Admissions()
    with socket.create_server(("127.0.0.1", 0)) as listening, admissions._file:
        server = Server(entity, listening, Heartbeat(), admissions)
        with pytest.raises(BlockingIOError):
            server.get_request()
