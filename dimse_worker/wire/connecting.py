"""A connection to a peer: its name is looked up and its addresses are tried, while the caller goes on with its work."""

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

CONNECT_SECONDS = 10.0
"""For looking up the name and connecting."""
POLL_SECONDS = 0.2
"""How often `waiting` is called."""


def connect(host: str, port: int, *, waiting: Callable[[], None]) -> socket.socket:
    """A connected socket. `waiting` is called during each wait, and may raise to end it.

    Raises OSError with the reason: gaierror where the name cannot be resolved, TimeoutError where nothing answers, and
    that of the last address otherwise. Raises UnicodeError for what can be no name.
    """
    deadline = time.monotonic() + CONNECT_SECONDS
    failure: OSError = socket.gaierror(socket.EAI_NONAME, "The name has no address.")
    for family, kind, protocol, _name, place in _resolve(host, port, deadline, waiting):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.settimeout(0)
            code = connecting.connect_ex(place)
            if code == errno.EINPROGRESS:
                code = _result(connecting, deadline, waiting)
            if not code:
                return connecting
        except BaseException:
            connecting.close()
            raise
        connecting.close()
        failure = OSError(code, os.strerror(code))
    raise failure


def _resolve(host: str, port: int, deadline: float, waiting: Callable[[], None]) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 (it is raised where it is waited for)
            found.set_exception(error)

    # The system's look-up has no time limit, and cannot be ended.
    threading.Thread(target=look_up, daemon=True).start()
    while not found.done():
        wait([found], timeout=POLL_SECONDS)
        waiting()
        if time.monotonic() > deadline:
            raise socket.gaierror(socket.EAI_AGAIN, "The name was not resolved in time.")
    return found.result()


def _result(connecting: socket.socket, deadline: float, waiting: Callable[[], None]) -> int:
    """The error number with which connecting ends; 0 for success."""
    writable = select.poll()
    writable.register(connecting, select.POLLOUT)
    while not writable.poll(POLL_SECONDS * 1000):
        waiting()
        if time.monotonic() > deadline:
            return errno.ETIMEDOUT
    return connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
