"""Vendor pixels are decoded by processes that can reach nothing, and whose end is the end of one object."""

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from portal.pixels import render_pool, sandbox
from portal.pixels.render_pool import Undecodable
from portal.settings import Settings
from tests.fixtures.archive import encode, vendor_file
from tests.fixtures.hostile import pixels as hostile_pixels
from tests.fixtures.process_tree import command_of, descendants


@pytest.fixture(autouse=True)
def no_decoder_is_left() -> Iterator[None]:
    render_pool.close()
    yield
    render_pool.close()


class Held(io.BytesIO):
    """A file whose reader waits until it is let go."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked, self.let_go = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.set()
        assert self.let_go.wait(30)
        return super().read(size)


class Counted(io.RawIOBase):
    """Keeps nothing of what is written to it but how much it was."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)


@pytest.fixture
def held() -> Iterator[tuple[Held, list[BaseException | None]]]:
    """A picture in the making, whose decoder waits for the first byte, and how it ended."""
    content = Held(vendor_file("CT_small.dcm").read_bytes())
    ended: list[BaseException | None] = []
    thread = threading.Thread(
        target=lambda: ended.append(_error_of(lambda: render_pool.render(content, frame=0, side=64)))
    )
    thread.start()
    assert content.asked.wait(30)
    yield content, ended
    content.let_go.set()
    thread.join(30)


def _error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


def decoders(of: int | None = None) -> list[int]:
    """The decoding processes below a process, each after the one that forked it."""
    return [child for child in descendants(of or "self") if b"portal.pixels.process" in command_of(child)]


def test_a_decoding_process_has_nothing_open_but_its_socket_and_knows_no_path(
    site: Settings, held: tuple[Held, list[BaseException | None]]
) -> None:
    _, working = decoders()
    process = Path(f"/proc/{working}")
    opened = {os.readlink(descriptor).partition(":")[0] for descriptor in (process / "fd").iterdir()}
    assert opened == {"socket", "/dev/null"}
    environ = (process / "environ").read_bytes()
    assert b"PORTAL" not in environ
    assert str(site.data).encode() not in environ + (process / "cmdline").read_bytes()
    assert os.readlink(process / "cwd") == "/"
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert resource.prlimit(working, resource.RLIMIT_DATA)[0] == sandbox.DATA_LIMIT
    assert resource.prlimit(working, resource.RLIMIT_FSIZE)[0] == 0


def test_who_is_shut_in_opens_no_file_connects_to_nothing_and_touches_no_process(site: Settings) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    program = """
import json, os, resource, signal, socket, subprocess, sys
from portal.pixels import sandbox
key, database, port, other = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pair, spare = socket.socketpair(), socket.socket()
sandbox.enter()
tries = {
    "key": lambda: open(key), "database": lambda: open(database), "list": lambda: os.listdir("/"),
    "write": lambda: open("/tmp/from-inside", "w"), "remove": lambda: os.unlink(key),
    "connect": lambda: spare.connect(("127.0.0.1", port)), "inet": socket.socket,
    "unix": lambda: socket.socket(socket.AF_UNIX), "listen": lambda: pair[0].listen(),
    "fork": os.fork, "run": lambda: subprocess.run(["true"]), "kill": lambda: os.kill(other, signal.SIGKILL),
    "limits": lambda: resource.prlimit(other, resource.RLIMIT_CPU),
}
def outcome(call):
    try:
        call()
    except OSError as error:
        return type(error).__name__
    return "done"
print(json.dumps({name: outcome(call) for name, call in tries.items()}))
"""
    with listening:
        arguments = [str(site.site_key), str(site.database), str(listening.getsockname()[1]), str(os.getpid())]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
    outcomes = json.loads(done.stdout)
    assert set(outcomes.values()) == {"PermissionError"}, outcomes
    assert site.site_key.exists()


def test_a_decoder_that_is_killed_fails_that_object_alone(held: tuple[Held, list[BaseException | None]]) -> None:
    content, ended = held
    _, working = decoders()
    os.kill(working, signal.SIGKILL)
    content.let_go.set()
    until(lambda: ended)
    assert isinstance(ended[0], render_pool.Unrenderable)
    assert "ended before it was done" in str(ended[0])
    assert render().startswith(b"\x89PNG")


@pytest.mark.parametrize("wrong", hostile_pixels.each())
def test_pixels_that_break_a_decoder_fail_alone_and_cost_us_no_memory(wrong: str) -> None:
    ds = hostile_pixels.each()[wrong]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    syntax = str(ds.file_meta.TransferSyntaxUID)
    with pytest.raises((Undecodable, render_pool.Refused)):
        render_pool.transcode(
            io.BytesIO(encode(ds, syntax=syntax)), Counted(), syntax=syntax, target=ExplicitVRLittleEndian
        )
    assert render().startswith(b"\x89PNG")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_the_memory_of_a_decoder_does_not_grow_with_the_number_of_frames() -> None:
    frames = sandbox.DATA_LIMIT // (2 << 20) + 1
    data, result = encode(hostile_pixels.many_frames(frames), syntax=RLELossless), Counted()
    render_pool.transcode(io.BytesIO(data), result, syntax=RLELossless, target=ExplicitVRLittleEndian)
    assert result.size > frames * (2 << 20) > sandbox.DATA_LIMIT


def test_decoders_end_with_the_process_that_asked_however_it_ends() -> None:
    program = (
        "import io, sys\nfrom portal.pixels import render_pool as renderers\n"
        "class Held(io.BytesIO):\n    def read(self, size=-1):\n        print('asked', flush=True); sys.stdin.read()\n"
        "renderers.render(Held(bytes(1000)), frame=0, side=64)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"asked\n"
        below = decoders(owner.pid)
        assert len(below) == 2
        owner.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() and _is_decoder(pid) for pid in below))


def _is_decoder(pid: int) -> bool:
    try:
        return b"portal.pixels.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_process_that_was_forked_leaves_the_decoders_of_its_parent_alone() -> None:
    render()
    ours = decoders()[:1]
    until(lambda: decoders() == ours)
    child = os.fork()
    if not child:
        code = 1
        try:
            render_pool.close()
            code = 0 if render().startswith(b"\x89PNG") and decoders() else 1
            render_pool.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    render()
    until(lambda: decoders() == ours)


def test_a_thread_that_takes_the_last_idle_decoder_first_stops_no_other() -> None:
    class Emptied(list[Any]):
        """There is one when it is looked at, and none when it is taken."""

        def __bool__(self) -> bool:
            return True

    render_pool._pool._idle = Emptied()
    assert render().startswith(b"\x89PNG")


def render() -> bytes:
    return render_pool.render(io.BytesIO(vendor_file("CT_small.dcm").read_bytes()), frame=0, side=64)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
