import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

import pytest
from pynetdicom.presentation import build_context

from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import associations
from portal.settings import Settings
from tests.fixtures.dimse import (
    OURS,
    VERIFICATION,
    Encoded,
    Listener,
    accepts,
    associated,
    enable,
    image,
    listening,
    newest_association,
    register,
    rejection,
    store,
    until,
)
from tests.fixtures.free_ports import free_port
from tests.fixtures.process_tree import children


def listening_sockets(listener: Listener) -> list[str]:
    """Local addresses on which a process of the listener listens (proc(5), net/tcp: state 0A)."""
    inodes = set()
    for pid in [listener.process.pid, *children(listener.process.pid)]:
        # A process that ends meanwhile, and a descriptor that is closed, hold no socket.
        with contextlib.suppress(FileNotFoundError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    found = []
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(fields[1])
    return found


def echoes(port: int, *, called: str = OURS) -> bool:
    with associated(port, [build_context(VERIFICATION)], called=called) as assoc:
        return bool(assoc.is_established and assoc.send_c_echo().Status == 0)


def test_while_dimse_is_disabled_no_socket_is_held_and_enabling_needs_no_restart(listener: Listener) -> None:
    register()
    options.change({"dimse.enabled": False}, actor=operator())
    until(lambda: not listening_sockets(listener), "the socket is closed")
    assert not accepts(listener.port)
    until(lambda: not children(listener.process.pid), "the process that accepted has ended")
    options.change({"dimse.enabled": True}, actor=operator())
    until(lambda: accepts(listener.port), "it listens again")
    assert echoes(listener.port)


def test_a_new_port_is_followed_and_a_running_association_goes_on(listener: Listener) -> None:
    register()
    with associated(listener.port, [build_context(VERIFICATION)]) as assoc:
        new = free_port()
        enable(new)
        until(lambda: accepts(new), "it listens on the new port")
        until(lambda: not accepts(listener.port), "it has left the old one")
        assert echoes(new)
        assert assoc.send_c_echo().Status == 0


def test_a_new_ae_title_counts_from_the_next_association(listener: Listener) -> None:
    register()
    options.change({"dimse.ae_title": "ARCHIVE"}, actor=operator())
    assert rejection(listener.port, calling="SCANNER", called=OURS) == (1, 1, 7)
    assert echoes(listener.port, called="ARCHIVE")


def test_a_port_that_is_taken_is_tried_again_until_it_is_free(dimse_site: Settings) -> None:
    register()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        enable(port)
        with listening(dimse_site, ready=False) as listener:
            until(lambda: b"cannot listen" in listener.log.read_bytes(), "it says that it cannot listen")
            other.close()
            until(lambda: accepts(port), "it listens")
            assert echoes(port)


def test_sigterm_lets_a_running_association_end(listener: Listener) -> None:
    register()
    with associated(listener.port, [build_context(VERIFICATION)]) as assoc:
        listener.process.send_signal(signal.SIGTERM)
        until(lambda: not accepts(listener.port), "it accepts nothing new")
        assert assoc.send_c_echo().Status == 0
    assert listener.process.wait(timeout=20) == 0
    assert newest_association().outcome == "released"


def test_when_the_parent_is_killed_its_children_are_gone_and_the_next_listener_marks_what_ran_as_lost(
    dimse_site: Settings,
) -> None:
    register()
    with listening(dimse_site) as listener, associated(listener.port, [build_context(VERIFICATION)]):
        (child,) = children(listener.process.pid)
        assert newest_association().outcome == "open"
        listener.stop(signal.SIGKILL)
        until(lambda: not os.path.exists(f"/proc/{child}"), "the child is gone")
        assert associations.view(newest_association())["outcome"] == "lost"
    with listening(dimse_site):
        until(lambda: newest_association().outcome == "lost", "the row says lost")
        assert newest_association().ended is not None


def test_a_child_that_is_killed_is_replaced(listener: Listener) -> None:
    register()
    (child,) = until(lambda: children(listener.process.pid), "the listener has forked")
    os.kill(child, signal.SIGKILL)
    until(lambda: children(listener.process.pid) not in ([], [child]), "there is another one")
    assert until(lambda: echoes(listener.port), "it echoes")


def test_a_child_that_hangs_is_killed_and_replaced(listener: Listener) -> None:
    register()
    assert until(lambda: echoes(listener.port), "it echoes")
    (child,) = children(listener.process.pid)
    os.kill(child, signal.SIGSTOP)
    until(lambda: children(listener.process.pid) not in ([], [child]), "there is another one", 60)
    assert f"process {child} has not accepted anything for" in listener.log.read_text()
    assert until(lambda: echoes(listener.port), "it echoes")


def test_processes_that_were_paused_go_on(listener: Listener) -> None:
    register()
    assert until(lambda: echoes(listener.port), "it echoes")
    serving = children(listener.process.pid)
    for pid in (listener.process.pid, *serving):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(associations.REFRESH_SECONDS + 0.5)  # for longer than they wait for a signal
    for pid in (*serving, listener.process.pid):
        os.kill(pid, signal.SIGCONT)
    for _ in range(20):
        assert until(lambda: accepts(listener.port) and echoes(listener.port), "it echoes")
    assert (children(listener.process.pid), listener.process.poll()) == (serving, None)


def test_the_counts_of_a_running_association_are_written_while_it_runs(listener: Listener) -> None:
    register()
    with associated(listener.port, [build_context(VERIFICATION)]) as assoc:
        assert assoc.send_c_echo().Status == 0
        until(lambda: newest_association().counts, "the row has counts")
        assert newest_association().outcome == "open"


def pdu(kind: int, announced: int, content: bytes = b"") -> bytes:
    return struct.pack(">BBL", kind, 0, announced) + content


@pytest.mark.parametrize("first", [pdu(1, 2**31), pdu(1, 2**32 - 1), pdu(4, 1 << 21), pdu(1, 1 << 20 | 1)])
def test_a_pdu_that_announces_too_much_is_answered_with_an_abort(listener: Listener, first: bytes) -> None:
    register()
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as connection:
        connection.sendall(first)
        assert connection.recv(10)[:1] == b"\x07"
    assert echoes(listener.port)


def test_an_association_that_announces_too_much_later_is_aborted_and_says_so(listener: Listener) -> None:
    register()
    with associated(listener.port, [build_context(VERIFICATION)]) as assoc:
        transport: Any = assoc.dul.socket
        transport.socket.sendall(pdu(4, 1 << 30))
        until(lambda: newest_association().outcome == "aborted", "the row says aborted")
    assert newest_association().message == "We aborted it: the peer announced a PDU of 1073741824 bytes."
    assert echoes(listener.port)


def test_a_request_that_cannot_be_decoded_is_aborted_at_once(listener: Listener) -> None:
    register()
    syntaxes = b"\x30\x00\x00\x11" + VERIFICATION.encode() + b"\x40\x00\x00\x11" + b"1.2.840.10008.1.2"
    even = b"\x02\x00\x00\x00" + syntaxes
    context = b"\x20\x00" + len(even).to_bytes(2) + even
    application = b"\x10\x00\x00\x15" + b"1.2.840.10008.3.1.1.1"
    user = b"\x50\x00\x00\x08" + b"\x51\x00\x00\x04\x00\x00\x40\x00"
    titles = OURS.encode().ljust(16) + b"SCANNER".ljust(16)
    content = b"\0\1\0\0" + titles + bytes(32) + application + context + user
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as connection:
        connection.sendall(pdu(1, len(content), content))
        assert connection.recv(10)[:1] == b"\x07"
        assert connection.recv(10) == b""
    assert echoes(listener.port)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"GET / HTTP/1.1\r\n\r\n", pdu(0xFF, 4, b"abcd"), pdu(1, 4, b"abcd")]
)
def test_what_is_no_dicom_ends_its_connection_only(listener: Listener, content: bytes) -> None:
    register()
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as connection:
        connection.sendall(content)
    assert echoes(listener.port)
    assert store(listener.port, [Encoded.of(image())])[0].status == 0


def test_without_a_command_the_program_says_what_it_wants() -> None:
    program = [sys.executable, "-m", "dimse_worker", "listen", "--children", "0"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert (done.returncode, "a number from 1 to 64" in done.stderr) == (2, True)


IDLE_THREADS = {"stock": 2, "fast": 3}
"""The first one, the one that accepts, and of our own code the one that writes rows."""


def test_who_connects_and_says_nothing_holds_no_thread_for_long(wire: str, listener: Listener) -> None:
    register()
    assert echoes(listener.port)  # only then do we know that the thread that accepts has begun
    for _ in range(20):
        accepts(listener.port)
    until(lambda: threads(listener) == IDLE_THREADS[wire], "their threads have ended", seconds=10)


def threads(listener: Listener) -> int:
    (child,) = until(lambda: children(listener.process.pid), "the listener has forked")
    return len(os.listdir(f"/proc/{child}/task"))
