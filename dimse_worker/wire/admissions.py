"""How many associations all processes of a listener have admitted, so that the limit is the site's."""

import fcntl
import mmap
import struct
import tempfile
import threading
from typing import Literal

from portal.peers.limits import MAX_AT_ONCE

MAX_ASSOCIATIONS = MAX_AT_ONCE
"""Accepted associations of all processes at a time; one more is rejected as transient (PS3.8 9.3.4: 2/3/2)."""
MAX_PROCESSES = 256
NOBODY = -1
"""In place of a peer's id: a caller that is none."""
_COUNT, _PEER = struct.Struct("=i"), struct.Struct("=q")
_PEERS = _COUNT.size * MAX_PROCESSES
"""Where the peers' ids begin: a place for each association of each process, 0 where it is free."""
_PEERS_OF_PROCESS = _PEER.size * MAX_ASSOCIATIONS

Exceeded = Literal["site", "peer"]


class Admissions:
    """Created by the parent before it forks. Each process has a number, and counts in a place of its own.

    The lock is the kernel's, for a process and a file: that of a process that is killed is gone with it.
    """

    def __init__(self) -> None:
        size = _PEERS + _PEERS_OF_PROCESS * MAX_PROCESSES
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the listener runs)
        self._file.truncate(size)
        self._counts = mmap.mmap(self._file.fileno(), size)
        self._free = list(range(MAX_PROCESSES))
        self._number = 0
        self._lock = threading.Lock()

    def take_number(self) -> int:
        """In the parent: the number of a process that is about to be forked."""
        return self._free.pop()

    def give_back(self, number: int) -> None:
        """In the parent, after that process has ended in whatever way."""
        _COUNT.pack_into(self._counts, number * _COUNT.size, 0)
        begin = _PEERS + number * _PEERS_OF_PROCESS
        self._counts[begin : begin + _PEERS_OF_PROCESS] = bytes(_PEERS_OF_PROCESS)
        self._free.append(number)

    def begin(self, number: int) -> None:
        """In the new process, before anything else."""
        self._number = number

    def admit(
        self, peer_id: int = NOBODY, *, of_site: int = MAX_ASSOCIATIONS, of_peer: int | None = None
    ) -> Exceeded | None:
        """Count one more association of this process and of a peer; else which limit of all processes is reached."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                counts = [count for (count,) in _COUNT.iter_unpack(self._counts[:_PEERS])]
                if sum(counts) >= min(of_site, MAX_ASSOCIATIONS):
                    return "site"
                if of_peer is not None:
                    busy = [number for number, count in enumerate(counts) if count]
                    if sum(self._peers(number).count(peer_id) for number in busy) >= of_peer:
                        return "peer"
                self._change(1, 0, peer_id)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return None

    def release(self, peer_id: int = NOBODY) -> None:
        """Count one association of this process and of the peer less."""
        with self._lock:
            self._change(-1, peer_id, 0)

    def _peers(self, number: int) -> list[int]:
        """The ids of the peers of one process, with 0 in the free places."""
        begin = _PEERS + number * _PEERS_OF_PROCESS
        return [peer_id for (peer_id,) in _PEER.iter_unpack(self._counts[begin : begin + _PEERS_OF_PROCESS])]

    def _change(self, change: int, old: int, new: int) -> None:
        place = self._number * _COUNT.size
        (count,) = _COUNT.unpack_from(self._counts, place)
        _COUNT.pack_into(self._counts, place, count + change)
        index = self._peers(self._number).index(old)
        _PEER.pack_into(self._counts, _PEERS + self._number * _PEERS_OF_PROCESS + index * _PEER.size, new)
