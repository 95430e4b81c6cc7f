"""Peers that we call over TLS, and what crosses the wire when one is not whom we trust."""

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from dimse_worker import scu
from portal.access.actors import operator
from portal.errors import Outage
from portal.models import Peer
from portal.peers import peers
from portal.settings import Settings
from portal.tls import site_certificate
from tests.fixtures.dimse import accepts, newest_association, register, until
from tests.fixtures.free_ports import free_port
from tests.fixtures.tls.certificates import Issued, authority, self_signed

PATIENCE = 60.0
TITLES = (b"PORTICO", b"VIEWER", b"1.2.840.10008")
"""What each request for an association holds in clear text."""


@pytest.fixture(autouse=True)
def site_with_dimse(dimse_site: Settings) -> Settings:
    return dimse_site


@pytest.fixture(scope="module")
def hospital() -> Issued:
    return authority()


@contextmanager
def storescp(folder: Path, issued: Issued, *more: str) -> Iterator[int]:
    """DCMTK's `storescp +tls` with a certificate; its port."""
    chain, key = issued.files(folder, "viewer")
    port = free_port()
    checked = [] if "+cf" in more else ["-ic"]
    command = ["storescp", "+tls", str(key), str(chain), *checked, *more, "-od", str(folder), str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: accepts(port), "storescp accepts", PATIENCE)
        yield port
    finally:
        running.kill()
        running.wait()


class Recorder:
    """A proxy to a port that keeps all that goes through it, both ways."""

    def __init__(self, port: int, cut_after: int | None) -> None:
        self.seen, self._to, self._cut_after = bytearray(), port, cut_after
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.open = [self._listening]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                self._connect(self._listening.accept()[0])

    def _connect(self, caller: socket.socket) -> None:
        peer = socket.create_connection(("127.0.0.1", self._to))
        self.open += (caller, peer)
        for source, target in ((caller, peer), (peer, caller)):
            threading.Thread(target=self._pass_on, args=(source, target, source is peer), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                self.seen += data
                if is_answer and self._cut_after is not None:
                    data = data[: self._cut_after - passed]
                passed += len(data)
                target.sendall(data)
                if is_answer and passed == self._cut_after:
                    break
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def recorded(port: int, *, cut_after: int | None = None) -> Iterator[Recorder]:
    """A proxy to a port; `cut_after`: bytes from the peer after which both connections are closed."""
    recorder = Recorder(port, cut_after)
    try:
        yield recorder
    finally:
        for one in recorder.open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def peer_at(port: int, **fields: Any) -> Peer:
    peer: Peer = register("VIEWER", host="127.0.0.1", port=port, tls=True, **fields)
    return peer


def refusal(peer: Peer) -> str:
    with pytest.raises(Outage) as refused:
        scu.echo(peer)
    return refused.value.message


def test_a_peer_with_a_certificate_of_its_issuer_is_called_over_tls(tmp_path: Path, hospital: Issued) -> None:
    with storescp(tmp_path, hospital.issue("viewer", "127.0.0.1")) as port, recorded(port) as recorder:
        assert "answered the C-ECHO" in scu.echo(peer_at(recorder.port, issuers=hospital.pem))
    row = newest_association()
    assert (row.role, row.outcome, row.tls, row.tls_version) == ("requestor", "released", True, "TLSv1.3")
    assert not any(title in recorder.seen for title in TITLES)


def test_a_peer_with_exactly_the_registered_certificate_is_called_whatever_its_name(tmp_path: Path) -> None:
    own = self_signed("viewer")
    with storescp(tmp_path, own) as port:
        assert "answered the C-ECHO" in scu.echo(peer_at(port, pinned=own.pem))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda ca: ca.issue("v", "127.0.0.1", days=-1), r"The certificate v of VIEWER expired on \d+ \w+ \d{4}\."),
        (lambda ca: ca.issue("v", "viewer.example"), r"of VIEWER is for viewer\.example, and not for 127\.0\.0\.1\."),
        (lambda _ca: authority("Foreign CA").issue("v", "127.0.0.1"), r"was issued by Foreign CA, which is not trust"),
        (lambda _ca: self_signed("v", "127.0.0.1"), r"v of VIEWER is signed by itself, and not registered\."),
    ],
    ids=["expired", "another name (RFC 9525 6)", "unknown issuer", "self-signed"],
)
def test_a_peer_with_another_certificate_gets_nothing_of_dicom(
    tmp_path: Path, hospital: Issued, made: Any, words: str
) -> None:
    with storescp(tmp_path, made(hospital)) as port, recorded(port) as recorder:
        assert re.search(words, refusal(peer_at(recorder.port, issuers=hospital.pem)))
        assert not any(title in recorder.seen for title in TITLES)
    assert newest_association().outcome == "failed"


def test_the_system_s_issuers_count_where_none_is_registered(tmp_path: Path, hospital: Issued) -> None:
    with storescp(tmp_path, hospital.issue("viewer", "127.0.0.1")) as port:
        assert "was issued by Hospital CA, which is not trusted" in refusal(peer_at(port))


def test_the_name_in_the_certificate_can_be_another_one_or_any(tmp_path: Path, hospital: Issued) -> None:
    with storescp(tmp_path, hospital.issue("viewer", "*.hospital.example")) as port:
        peer = peer_at(port, issuers=hospital.pem, tls_name="viewer.hospital.example")
        assert "answered the C-ECHO" in scu.echo(peer)
        peer = peers.edit("VIEWER", tls_name="hospital.example", actor=operator())
        assert "and not for hospital.example" in refusal(peer)
        peer = peers.edit("VIEWER", tls_any_name=True, actor=operator())
        assert "answered the C-ECHO" in scu.echo(peer)


def test_our_certificate_is_presented_and_a_refusal_of_it_is_said(tmp_path: Path, hospital: Issued) -> None:
    ours = hospital.issue("portico", "127.0.0.1")
    ca = tmp_path / "ca.pem"
    ca.write_text(hospital.pem)
    site_certificate.create("portico", actor=operator())
    with storescp(tmp_path, hospital.issue("viewer", "127.0.0.1"), "+cf", str(ca)) as port:
        peer = peer_at(port, issuers=hospital.pem)
        # DCMTK closes the connection so that its alert may be lost.
        assert re.match("VIEWER (refuses|ended the connection .* Does it trust) our certificate", refusal(peer))
        site_certificate.install(ours.chain, ours.key_pem, actor=operator())
        assert "answered the C-ECHO" in scu.echo(peer)


def test_a_peer_that_speaks_no_tls_gets_nothing_of_dicom(tmp_path: Path) -> None:
    port = free_port()
    running = subprocess.Popen(["storescp", "-od", str(tmp_path), str(port)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: accepts(port), "storescp accepts", PATIENCE)
        with recorded(port) as recorder:
            said = refusal(peer_at(recorder.port))
        assert re.match("VIEWER (does not speak TLS|closed the connection during the TLS)", said)
        assert not any(title in recorder.seen for title in TITLES)
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "VIEWER speaks no TLS version from 1.2 on"),
        (["-tls1_2", "-cipher", "AES128-SHA256"], "VIEWER speaks TLS, but none of the secure cipher suites"),
        (["-Verify", "1", "-verify_return_error"], "VIEWER requires a certificate of ours, and there is none"),
    ],
    ids=["TLS 1.1", "a weak suite", "our certificate required"],
)
def test_what_openssl_s_server_refuses_is_said(
    tmp_path: Path, hospital: Issued, arguments: list[str], words: str
) -> None:
    chain, key = hospital.issue("viewer", "127.0.0.1").files(tmp_path, "viewer")
    openssl, port = shutil.which("openssl") or "openssl", free_port()
    command = [openssl, "s_server", "-accept", str(port), "-cert", str(chain), "-key", str(key)]
    running = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,  # it ends with its input
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: accepts(port), "s_server accepts", PATIENCE)
        assert words in refusal(peer_at(port, issuers=hospital.pem))
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("cut_after", [0, 1, 5, 100, 800, 1200])
def test_a_connection_that_ends_at_any_step_is_never_followed_by_clear_text(
    tmp_path: Path, hospital: Issued, cut_after: int
) -> None:
    issued = hospital.issue("viewer", "127.0.0.1")
    with storescp(tmp_path, issued) as port, recorded(port, cut_after=cut_after) as recorder:
        peer = peer_at(recorder.port, issuers=hospital.pem)
        for _ in range(2):  # the second one is the reconnection
            with suppress(Outage):
                scu.echo(peer)
        assert recorder.seen
        assert not any(title in recorder.seen for title in TITLES)


def test_a_peer_that_is_silent_in_the_handshake_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse_worker.tls.calling.HANDSHAKE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "did not answer the TLS handshake" in refusal(peer_at(silent.getsockname()[1]))
