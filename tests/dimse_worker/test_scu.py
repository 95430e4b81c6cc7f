import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pynetdicom import AE

from dimse_worker import contexts, requestor, scu
from portal.dicom import sop_classes
from portal.errors import Unreachable
from portal.models import Peer
from portal.peers import peers
from portal.settings import Settings
from tests.fixtures.dimse import VERIFICATION, destination, newest_association, register
from tests.fixtures.free_ports import free_port

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"


@pytest.fixture(autouse=True)
def site_with_dimse(dimse_site: Settings) -> Settings:
    return dimse_site


def peer_at(port: int, host: str = "127.0.0.1", **fields: Any) -> Peer:
    peer: Peer = register("VIEWER", host=host, port=port, **fields)
    return peer


@contextmanager
def picky(context: str = VERIFICATION, **demands: Any) -> Iterator[int]:
    """An SCP of one SOP Class that demands certain titles; its port."""
    ae = AE(ae_title="VIEWER")
    for name, value in demands.items():
        setattr(ae, name, value)
    ae.add_supported_context(context)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False)
    try:
        yield port
    finally:
        server.shutdown()


def refusal(peer: Peer) -> str:
    with pytest.raises(Unreachable) as refused:
        scu.echo(peer)
    return refused.value.message


def test_an_echo_to_a_peer_that_says_nothing_ends_within_the_time_of_an_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scu, "ECHO_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            scu.echo(peer_at(silent.getsockname()[1]))
    assert time.monotonic() - started < requestor.NEGOTIATE_SECONDS / 2


def test_an_echo_that_is_answered_leaves_a_row(site_with_dimse: Settings) -> None:
    with destination("VIEWER") as viewer:
        message = scu.echo(peer_at(viewer.port, our_ae_title="US"))
    assert message.startswith(f"VIEWER at 127.0.0.1:{viewer.port} answered the C-ECHO in ")
    row = newest_association()
    assert (row.role, row.calling, row.called, row.outcome) == ("requestor", "US", "VIEWER", "released")
    assert row.counts == {"echo": {"done": 1, "failed": 0}}


def test_a_port_where_nobody_listens() -> None:
    port = free_port()
    assert refusal(peer_at(port)) == (
        f"127.0.0.1:{port} refuses connections. Check the port of VIEWER, and that its DICOM service runs."
    )
    assert newest_association().outcome == "failed"


def test_a_name_that_is_unknown() -> None:
    assert "cannot be resolved" in refusal(peer_at(104, host="no-such-host.invalid"))


def test_a_peer_that_does_not_know_our_title() -> None:
    with picky(require_calling_aet=["SOMEBODY"]) as port:
        assert refusal(peer_at(port)).startswith(
            "VIEWER rejected the association (1/1/3): it does not know our AE title PORTICO. Register it there"
        )


def test_a_peer_with_another_title() -> None:
    with picky(require_called_aet=True) as port:
        register("OTHER", host="127.0.0.1", port=port)
        message = refusal(peers.get("OTHER"))
    assert message.startswith("OTHER rejected the association (1/1/7): it says that OTHER is not its AE title.")


def test_a_peer_that_knows_no_verification() -> None:
    with picky(context=CT) as port:
        assert refusal(peer_at(port)) == "VIEWER accepted the association, but none of the proposed contexts."


def test_a_port_that_is_not_dicom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hang_up() -> None:
            connection, _ = other.accept()
            connection.recv(4096)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert "closed it without a response" in refusal(peer_at(other.getsockname()[1]))
        thread.join()


def test_what_is_to_be_sent_decides_the_contexts_and_one_offers_what_it_is_compressed_to() -> None:
    (batch,) = contexts.for_sending([(CT, JPEG), (CT, EXPLICIT), (MR, IMPLICIT)])
    assert [(str(context.abstract_syntax), context.transfer_syntax) for context in batch] == [
        (CT, [JPEG]),
        (CT, [EXPLICIT]),
        (CT, [IMPLICIT]),
        (CT, list(contexts.COMPRESSED_TARGETS)),
        (MR, [IMPLICIT]),
        (MR, [EXPLICIT]),
        (MR, list(contexts.COMPRESSED_TARGETS)),
    ]


def test_more_than_128_contexts_take_several_associations_and_a_class_stays_whole() -> None:
    pairs = [(sop_class, JPEG) for sop_class in list(sop_classes.STORAGE_CLASSES)[:100]]
    batches = contexts.for_sending(pairs)
    assert [len(batch) for batch in batches] == [128, 128, 128, 16]
    classes = [{str(context.abstract_syntax) for context in batch} for batch in batches]
    assert sum(len(one) for one in classes) == len(set().union(*classes)) == 100


def test_every_storage_class_of_the_standard_is_offered_and_none_without_a_patient() -> None:
    for uid in ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3", CT, MR):
        assert uid in sop_classes.STORAGE_CLASSES
    for uid in ("1.2.840.10008.5.1.4.38.1", "1.2.840.10008.5.1.4.1.1.200.1", "1.2.840.10008.1.20.1"):
        assert not sop_classes.is_storage(uid)
    assert {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", JPEG} <= sop_classes.TRANSFER_SYNTAXES.keys()
    assert not {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.7.1"} & sop_classes.TRANSFER_SYNTAXES.keys()
