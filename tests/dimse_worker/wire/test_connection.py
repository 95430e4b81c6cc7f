import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from dimse_worker.wire import commands, pdus
from dimse_worker.wire.connection import BUFFER_SIZE, Connection, Ended, ReleaseRequested
from dimse_worker.wire.messages import Messages

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def peer() -> Iterator[tuple[socket.socket, Connection]]:
    """A peer's socket, and our connection with it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname(), timeout=20)
        accepted, _ = listening.accept()
    ours = Connection(accepted)
    with theirs:
        yield theirs, ours
    ours.close()


def value(context_id: int, flags: int, data: bytes) -> bytes:
    return pdus.DATA_VALUE_HEADER.pack(len(data) + 2, context_id, flags) + data


def p_data(*values: bytes) -> bytes:
    content = b"".join(values)
    return pdus.HEADER.pack(pdus.DATA, len(content)) + content


def test_a_message_is_read_the_same_however_its_bytes_are_cut(peer: tuple[socket.socket, Connection]) -> None:
    theirs, ours = peer
    command, content = commands.store_request("1.2", "1.2.3", 1), bytes(range(256)) * 9
    sent = p_data(value(3, 1, command[:20])) + p_data(value(3, 3, command[20:]), value(3, 0, content[:100]))
    sent += p_data(value(3, 0, b""), value(3, 2, content[100:]))
    messages = Messages(ours)
    for step in (1, 7, len(sent)):

        def send(step: int = step) -> None:
            for start in range(0, len(sent), step):
                theirs.sendall(sent[start : start + step])

        sending = threading.Thread(target=send)
        sending.start()
        context_id, read = messages.next_command()
        assert (context_id, read.message_id, read.sop_instance_uid) == (3, 1, "1.2.3")
        assert b"".join(bytes(piece) for piece in messages.data_set()) == content
        sending.join()


def test_a_large_pdu_is_passed_on_in_pieces_before_it_is_whole(peer: tuple[socket.socket, Connection]) -> None:
    theirs, ours = peer
    size = 3 << 20
    theirs.sendall(pdus.data_head(1, size, pdus.IS_LAST) + b"abc")
    fragment = ours.read()
    assert (bytes(fragment.data), fragment.is_last) == (b"abc", False)
    sending = threading.Thread(target=theirs.sendall, args=(bytes(size - 3),))
    sending.start()
    left = size - 3
    while left:
        fragment = ours.read()
        assert len(fragment.data) <= BUFFER_SIZE
        left -= len(fragment.data)
    assert fragment.is_last
    sending.join()


def test_what_was_read_before_comes_first() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sender = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    whole = p_data(value(1, 2, b"data"))
    connection = Connection(accepted, received=whole[:9])
    with sender:
        sender.sendall(whole[9:])
        assert connection.poll()
        assert bytes(connection.read().data) == b"data"
        assert not connection.poll()
    connection.close()


HOSTILE = {
    "an unknown type": struct.pack(">BxL", 0xFF, 4) + b"abcd",
    "a type of zero": struct.pack(">BxL", 0, 0),
    "a second request": struct.pack(">BxL", pdus.ASSOCIATE_RQ, 4) + b"abcd",
    "a P-DATA-TF of 4 GiB": struct.pack(">BxL", pdus.DATA, 2**32 - 1),
    "a value that is longer than its PDU": struct.pack(">BxL", pdus.DATA, 8) + value(1, 3, bytes(9)),
    "a value of one byte": struct.pack(">BxL", pdus.DATA, 6) + struct.pack(">LBB", 1, 1, 3),
    "a value of no bytes": struct.pack(">BxL", pdus.DATA, 6) + struct.pack(">LBB", 0, 1, 3),
    "half a value header": struct.pack(">BxL", pdus.DATA, 3) + bytes(3),
    "a release of a wrong length": struct.pack(">BxL", pdus.RELEASE_RQ, 1 << 31),
    "data before its command": p_data(value(1, 2, b"data")),
    "a command that cannot be decoded": p_data(value(1, 3, b"data")),
    "a command of two contexts": p_data(value(1, 1, b"data"), value(3, 3, b"data")),
    "an endless command": p_data(value(1, 1, bytes(commands.MAX_SIZE + 1))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_has_no_place_ends_the_association_with_an_abort(
    peer: tuple[socket.socket, Connection], name: str
) -> None:
    theirs, ours = peer
    theirs.sendall(HOSTILE[name])
    with pytest.raises(Ended, match="We aborted it: the peer ") as ended:
        Messages(ours).next_command()
    assert ended.value.abort[0] == pdus.ABORT
    assert not isinstance(ended.value, ReleaseRequested)


def test_release_abort_and_a_closed_connection_are_told_apart(peer: tuple[socket.socket, Connection]) -> None:
    theirs, ours = peer
    theirs.sendall(pdus.RELEASE_REQUEST + pdus.abort())
    with pytest.raises(ReleaseRequested):
        ours.read()
    with pytest.raises(Ended, match=r"The peer aborted it\."):
        ours.read()
    theirs.sendall(pdus.data_head(1, 100, 3)[:7])
    theirs.close()
    with pytest.raises(Ended, match="closed without a release"):
        ours.read()


def test_a_message_is_sent_in_pdus_of_the_length_that_the_peer_takes(peer: tuple[socket.socket, Connection]) -> None:
    theirs, ours = peer
    command, content = commands.echo_request(VERIFICATION, 1), bytes(range(251)) * 5
    for length in (0, 64, 65, 16384):
        ours.max_length = length
        ours.send_message(5, command, content)
        ours.send(b"end")
        received, lengths = {1: b"", 0: b""}, []
        while (head := take(theirs, 3)) != b"end":
            (size,) = struct.unpack(">xxL", head + take(theirs, 3))
            lengths.append(size)
            body = take(theirs, size)
            assert struct.unpack_from(">LB", body) == (size - 4, 5)
            received[body[5] & 1] += body[6:]
            is_whole = len(received[body[5] & 1]) == len(command if body[5] & 1 else content)
            assert bool(body[5] & 2) == is_whole
        assert (received[1], received[0]) == (command, content)
        assert not length or max(lengths) <= length


def take(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes."""
    found = b""
    while len(found) < size:
        read = connection.recv(size - len(found))
        assert read, "the connection was closed"
        found += read
    return found
