"""Ports for servers of the tests, several of which run at once."""

import secrets
import socket

FIRST, LAST = 10_240, 32_767
"""Below those that the system gives to connections and to servers that name none (ip(7), ip_local_port_range)."""


def free_port() -> int:
    """A port that nobody listens on, by lot: one that the system names, it may name to another at the next moment."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
