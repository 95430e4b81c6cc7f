"""What the web server finds out about a request before a thread reads it, and how slow its peer may be."""

import itertools
import socket
from collections.abc import Iterator

import pytest

from portal.processes.web_connections import TRANSFER_ROOM, MinimumRateSocket
from portal.processes.web_requests import MAX_BODY, parse
from tests.fixtures.servers import CHUNKED


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MinimumRateSocket, socket.socket]]:
    """A transfer's socket and its peer; each look at the clock finds it three seconds later."""
    ours, theirs = socket.socketpair()
    paced = MinimumRateSocket(ours)
    paced.begin(is_transfer=True)
    ticks = itertools.count(0, 3)
    monkeypatch.setattr("portal.processes.web_connections.monotonic", lambda: next(ticks))
    with ours, theirs:
        yield paced, theirs


def test_a_peer_that_sends_or_takes_less_than_a_thousand_bytes_a_second_is_dropped(
    pair: tuple[MinimumRateSocket, socket.socket],
) -> None:
    paced, theirs = pair
    theirs.sendall(b"x" * 1000)

    def receive_all() -> None:
        while paced.recv(50):
            pass

    with pytest.raises(ConnectionResetError, match="1024 bytes a second"):
        receive_all()


def test_a_peer_that_keeps_the_rate_may_take_as_long_as_it_needs(pair: tuple[MinimumRateSocket, socket.socket]) -> None:
    paced, theirs = pair
    for _ in range(100):
        theirs.sendall(b"x" * 4096)
        assert len(paced.recv(4096)) == 4096
        paced.sendall(b"y" * (TRANSFER_ROOM + 1))
        assert theirs.recv(TRANSFER_ROOM + 1, socket.MSG_WAITALL)


@pytest.mark.parametrize(
    ("line", "is_transfer"),
    [
        ("POST /api/acquisitions/0005/files", True),
        ("GET /api/acquisitions/%30005/fil%65s/a.dcm?version=1", True),
        ("GET /api/download?ticket=x&format=tar", True),
        ("GET /data/file/3/download", True),
        ("GET /data/session/3/zip?x=1", True),
        ("GET /jobs/3/report.jsonl?q=a", True),
        ("GET /activity/audit?q=a&format=csv", True),
        ("GET /activity/audit?format=jsonl&who=a", True),
        ("GET http://x/data/file/3/download", True),
        ("GET /data/file/3", False),
        ("GET /search?q=/download", False),
        ("GET /api/projects", False),
    ],
)
def test_what_takes_as_long_as_its_bytes_is_told_by_its_address(line: str, is_transfer: bool) -> None:
    found = parse(bytearray(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    assert found is not None
    assert found.is_transfer is is_transfer


@pytest.mark.parametrize("header", [f"Content-Length: {MAX_BODY + 1}", "Content-Length: x"])
def test_a_body_that_is_refused_without_being_read_needs_no_thread_of_the_pages(header: str) -> None:
    found = parse(bytearray(f"POST /sign-in HTTP/1.1\r\n{header}\r\n\r\n".encode()))
    assert found is not None
    assert found.is_transfer


@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"5;name=value\r\n0\r\n\r\n\r\n00A\r\n0123456789\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n",
    ],
)
def test_a_body_in_chunks_is_whole_with_its_last_byte_and_not_before(body: bytes) -> None:
    received = bytearray(CHUNKED)
    found = parse(received)
    assert found is not None
    assert not found.is_transfer
    for byte in body:
        assert not found.is_whole(received)
        received.append(byte)
    assert found.is_whole(received)
