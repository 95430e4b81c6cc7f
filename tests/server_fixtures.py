"""The web server that a site runs, as its own process, and peers of it that are slow."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests
from forked import Forked
from free_ports import free_port
from work_fixtures import until

from portal.settings import Settings

PATIENCE = 20.0
FORM_TYPE = b"Content-Type: application/x-www-form-urlencoded\r\n"
FORM = b"POST /sign-in HTTP/1.1\r\nHost: x\r\n" + FORM_TYPE + b"Content-Length: 900\r\n\r\n"
CHUNKED = b"POST /sign-in HTTP/1.1\r\nHost: x\r\n" + FORM_TYPE + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass
class Server:
    """`python -m portal.processes.web_server` on a site's folder."""

    site: Settings
    url: str
    process: Forked

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def most(self, name: str) -> int:
        """The highest figure of that name among the processes that serve (/proc/PID/status)."""
        lines = [line for pid in self.workers() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return max(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def connect(self, source: str = "127.0.0.1", *, window: int = 0) -> socket.socket:
        """A connection from one of this machine's own addresses; `window`: bytes that it takes before it reads them."""
        address = urlsplit(self.url)
        connection = socket.socket()
        connection.settimeout(PATIENCE)
        if window:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        try:
            connection.bind((source, 0))
            connection.connect((address.hostname or "", address.port or 0))
        except OSError:
            connection.close()
            raise
        return connection


@contextmanager
def serving(settings: Settings, **environ: str) -> Iterator[Server]:
    """A server on a free port, ended in order at the end."""
    address = f"127.0.0.1:{free_port()}"
    log = settings.data / "web.log"
    process = Forked(
        "portal.processes.web_server", str(settings.data), address, log=log, environ={**os.environ, **environ}
    )
    try:
        until(lambda: _answers(f"http://{address}"))
        yield Server(settings, f"http://{address}", process)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/version", timeout=5).status_code == 401
    except requests.RequestException:
        return False


@dataclass
class Slow:
    """One kind of slow peer: what it sends at once, what it adds byte by byte, and how little it takes."""

    name: str
    sent: bytes = b""
    dripped: bytes = b""
    window: int = 0


@dataclass
class Crowd:
    """Many slow peers, each of which comes back when it is dropped."""

    open: Callable[[Slow], socket.socket]
    peers: dict[int, tuple[Slow, socket.socket]] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def add(self, kind: Slow, number: int) -> None:
        for _ in range(number):
            self.peers[len(self.peers)] = kind, self._begun(kind)

    def drip(self) -> None:
        """Add a byte to each, for as long as it lasts."""
        while not self.is_over.wait(0.3):
            for number, (kind, connection) in list(self.peers.items()):
                try:
                    if kind.dripped:
                        connection.send(kind.dripped)
                    if is_dropped(connection):
                        raise ConnectionResetError
                except OSError:
                    connection.close()
                    with suppress(OSError):
                        self.peers[number] = kind, self._begun(kind)

    def _begun(self, kind: Slow) -> socket.socket:
        connection = self.open(kind)
        with suppress(OSError):  # it was dropped at once, and is opened again
            connection.sendall(kind.sent)
        connection.setblocking(False)
        return connection


def is_dropped(connection: socket.socket) -> bool:
    """Whether the server has closed it, or said that it will."""
    ready, _, _ = select.select([connection], (), (), 0)
    try:
        return bool(ready) and connection.recv(12, socket.MSG_PEEK) in (b"", b"HTTP/1.1 503", b"HTTP/1.1 408")
    except ConnectionResetError:
        return True


@contextmanager
def crowd(server: Server, *kinds: tuple[Slow, int]) -> Iterator[Crowd]:
    """So many of each kind, dripping beside what the test does."""
    many = Crowd(lambda kind: server.connect(window=kind.window))
    for kind, number in kinds:
        many.add(kind, number)
    thread = threading.Thread(target=many.drip, daemon=True)
    thread.start()
    try:
        yield many
    finally:
        many.is_over.set()
        thread.join()
        for _kind, connection in many.peers.values():
            connection.close()


def seconds(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began
