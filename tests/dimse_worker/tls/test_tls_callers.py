import contextlib
import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.presentation import build_context

from portal import models
from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import listener_status, peers, refused_callers
from portal.tls import site_certificate
from tests.fixtures.dimse import (
    VERIFICATION,
    associated,
    image,
    newest_association,
    register,
    rejection,
    rows,
    until,
)
from tests.fixtures.tls.certificates import Issued, authority, self_signed
from tests.fixtures.tls.listener import TlsListener

PATIENCE = 60.0


@pytest.fixture(scope="module")
def hospital() -> Issued:
    return authority()


def refusal(reason: str) -> str:
    """The sentence of the only refused caller."""
    (row,) = until(refused_callers.list_all, "a caller is refused", PATIENCE)
    assert row.reason == reason
    return str(row.message)


def test_objects_arrive_over_tls_and_the_association_shows_its_version(
    tls_listener: TlsListener, tmp_path: Path
) -> None:
    register()
    path = tmp_path / "image.dcm"
    ds = image(PixelData=bytes(300_000), Rows=500, Columns=600)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    answered = tls_listener.dcmtk("storescu", str(path))
    assert answered.code == 0, answered.output
    until(lambda: newest_association().outcome == "released", "it is released", PATIENCE)
    row = newest_association()
    assert (row.tls, row.tls_version, row.counts["store"]["done"]) == (True, "TLSv1.3", 1)
    assert len(rows(models.Instance)) == 1


def test_the_registered_certificate_and_one_of_the_registered_issuer_are_accepted(
    tls_listener: TlsListener, hospital: Issued
) -> None:
    peer = register(issuers=hospital.pem)
    below = hospital.issue("Imaging CA", is_authority=True)
    assert tls_listener.dcmtk("echoscu", issued=below.issue("scanner")).code == 0
    own = self_signed("scanner")
    peers.edit(peer.label, issuers="", pinned=own.pem, actor=operator())
    assert tls_listener.dcmtk("echoscu", issued=own).code == 0
    assert refused_callers.list_all() == []


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda _ca: None, "SCANNER called over TLS without a certificate, and one is registered for it."),
        (lambda ca: ca.issue("scanner", days=-1), r"the certificate scanner, which expired on \d+ \w+ \d{4}."),
        (lambda _ca: authority("Foreign CA").issue("scanner"), "was issued by Foreign CA, which is not trusted."),
        (lambda _ca: self_signed("scanner"), "is signed by itself, and not registered."),
        (lambda ca: ca.issue("leaf").issue("scanner"), "cannot be verified: "),
    ],
    ids=["without", "expired", "unknown issuer", "self-signed", "issued by what is no CA (RFC 5280 4.2.1.9)"],
)
def test_a_caller_without_the_right_certificate_is_refused_with_the_reason(
    tls_listener: TlsListener, hospital: Issued, made: Any, words: str
) -> None:
    register(issuers=hospital.pem)
    answered = tls_listener.dcmtk("echoscu", issued=made(hospital))
    assert answered.code != 0
    assert "Reason: No Reason" in answered.output
    assert re.search(words, refusal("certificate"))


def test_a_certificate_of_one_peer_is_refused_under_the_title_of_another(
    tls_listener: TlsListener, hospital: Issued
) -> None:
    register(issuers=hospital.pem)
    other = authority("Other CA")
    register("VIEWER", issuers=other.pem)
    register("PLAIN")
    answered = tls_listener.dcmtk("echoscu", issued=other.issue("viewer"))
    assert answered.code != 0
    assert "The certificate viewer is that of VIEWER, but the caller uses the AE title of SCANNER." in refusal(
        "certificate"
    )
    own = self_signed("own")
    peers.edit("VIEWER", pinned=own.pem, actor=operator())
    assert tls_listener.dcmtk("echoscu", issued=own, calling="PLAIN").code != 0
    assert tls_listener.dcmtk("echoscu", issued=self_signed("any"), calling="PLAIN").code == 0


def test_a_removed_certificate_is_refused_at_the_next_association(tls_listener: TlsListener, hospital: Issued) -> None:
    register(issuers=hospital.pem)
    scanner = hospital.issue("scanner")
    assert tls_listener.dcmtk("echoscu", issued=scanner).code == 0
    peers.edit("SCANNER", issuers=authority().pem, actor=operator())
    assert tls_listener.dcmtk("echoscu", issued=scanner).code != 0


def test_the_site_can_require_a_certificate_of_every_caller(tls_listener: TlsListener) -> None:
    register()
    assert tls_listener.dcmtk("echoscu").code == 0
    options.change({"dimse.require_certificates": True}, actor=operator())
    assert tls_listener.dcmtk("echoscu").code != 0
    assert "SCANNER has no certificate registered, and the site requires one" in refusal("certificate")


def test_a_peer_with_tls_only_is_refused_in_clear_text(tls_listener: TlsListener) -> None:
    register(tls=True)
    assert rejection(tls_listener.listener.port, calling="SCANNER") == (1, 1, 1)
    message = "SCANNER called in clear text, and may call over TLS only. Set up TLS there, to port"
    assert refusal("clear") == f"{message} {tls_listener.port}."
    assert tls_listener.dcmtk("echoscu").code == 0
    assert refused_callers.list_all(decided=False)[0].resolved is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "speaks no TLS version from 1.2 on"),
        (["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "speaks no TLS version from 1.2 on"),
        (["-tls1_2", "-cipher", "AES128-SHA256"], "none of the secure cipher suites"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "none of the secure cipher suites"),
        (["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"], "none of the secure cipher suites"),
    ],
    ids=["TLS 1.1", "TLS 1.0", "RSA key exchange", "CBC", "DHE"],
)
def test_weak_versions_and_suites_are_refused_by_address(
    tls_listener: TlsListener, arguments: list[str], words: str
) -> None:
    answered = s_client(tls_listener, *arguments)
    assert "Cipher is (NONE)" in answered or "Cipher    : 0000" in answered
    message = refusal("handshake")
    assert message.startswith("The caller at 127.0.0.1")
    assert words in message


def test_strong_versions_are_accepted_without_compression_and_renegotiation(tls_listener: TlsListener) -> None:
    for version in ("-tls1_2", "-tls1_3"):
        answered = s_client(tls_listener, version)
        assert "Compression: NONE" in answered or "Expansion: NONE" in answered
        assert "portico.hospital.example" in answered
    assert "RENEGOTIATING" in s_client(tls_listener, "-tls1_2", typed="R\n")
    assert "no renegotiation" in s_client(tls_listener, "-tls1_2", typed="R\n")


def test_clear_text_on_the_tls_port_is_refused_by_address(tls_listener: TlsListener) -> None:
    with socket.create_connection(("127.0.0.1", tls_listener.port), timeout=PATIENCE) as caller:
        caller.sendall(b"\1\0\0\0\0\xcd\0\1\0\0PORTICO")
        with contextlib.suppress(ConnectionResetError):
            while caller.recv(100):
                pass
    assert "The caller at 127.0.0.1 does not speak TLS." in refusal("handshake")


def test_another_certificate_is_used_from_the_next_association_on(tls_listener: TlsListener) -> None:
    other = authority("New CA").issue("new.hospital.example", "127.0.0.1")
    site_certificate.install(other.chain, other.key_pem, actor=operator())
    assert "new.hospital.example" in s_client(tls_listener)


def test_a_thousand_half_done_handshakes_leave_room_for_a_peer(tls_listener: TlsListener, wire: str) -> None:
    register()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    hello = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    begun = hello.read()
    opened = []
    try:
        for number in range(1_000 if wire == "fast" else 100):
            opened.append(socket.create_connection(("127.0.0.1", tls_listener.port), timeout=PATIENCE))
            opened[-1].sendall(begun[: len(begun) if number % 2 else 20])
        assert tls_listener.dcmtk("echoscu").code == 0
    finally:
        for one in opened:
            one.close()


def s_client(tls_listener: TlsListener, *arguments: str, typed: str = "") -> str:
    """What `openssl s_client` says of a connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{tls_listener.port}", *arguments]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_a_tls_port_that_is_taken_is_said_and_clear_text_goes_on(tls_listener: TlsListener) -> None:
    register()

    def status() -> listener_status.ListenerStatus:
        return listener_status.current(options.get_all())

    assert until(lambda: status().kind == "on", "both ports are open", PATIENCE)
    assert status().message.endswith(f", with TLS on port {tls_listener.port}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options.change({"dimse.tls_port": port}, actor=operator())
        until(lambda: status().kind == "failed", "the port is taken", PATIENCE)
        assert status().message == (
            f"TLS: Port {port} is in use by another program. Choose another port, or stop that program."
        )
        with associated(tls_listener.listener.port, [build_context(VERIFICATION)]) as assoc:
            assert assoc.send_c_echo().Status == 0
    options.change({"dimse.tls_port": ""}, actor=operator())
    until(lambda: status().kind == "on", "only clear text is wanted", PATIENCE)
