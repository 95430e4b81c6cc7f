"""A connected socket with TLS: the methods of a socket that associations use, with the same errors."""

import contextlib
import selectors
import socket
import struct
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from dimse_worker.tls.failures import HandshakeFailed, explain, is_lost_connection
from portal.peers.caller_certificates import Secured

MAX_RECORD = 16 << 10
"""Bytes of a TLS record (RFC 8446 5.1), which is what one call reads or sends at most."""
MAX_CHAIN = 10
"""Certificates of a peer that are kept."""


class TlsSocket:
    """Used by one thread at a time, but for `shutdown(SHUT_RD)`. Where it would have to wait: BlockingIOError."""

    def __init__(self, connected: socket.socket, context: SSL.Context, *, is_server: bool, name: str = "") -> None:
        """`name`: the host name that a client asks for (RFC 6066 3)."""
        self.failure = ""
        """Why it ended, as `failures.explain` says it; empty if TLS was not the reason."""
        self._socket, self._tls = connected, SSL.Connection(context, connected)
        if is_server:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
            if name:
                self._tls.set_tlsext_host_name(name.encode())

    @classmethod
    def accepting(cls, connected: socket.socket, context: SSL.Context | None) -> "TlsSocket | None":
        """For a connection whose caller has sent something; None if it has closed it instead, or we have no context."""
        with contextlib.suppress(OSError):
            if context is not None and connected.recv(1, socket.MSG_PEEK):
                return cls(connected, context, is_server=True)
        return None

    def handshake(self) -> int:
        """Go on with the handshake: 0 once it is done, else the event of `selectors` to wait for.

        Raises HandshakeFailed. Whose certificate it is has to be checked after it: any one is accepted here.
        """
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return selectors.EVENT_READ
        except SSL.WantWriteError:
            return selectors.EVENT_WRITE
        except SSL.Error as error:
            raise HandshakeFailed(explain(error)) from error
        return 0

    @property
    def secured(self) -> Secured:
        """Version and certificates of the other side, after the handshake; that it has the key is proven by then."""
        chain = self._tls.get_peer_cert_chain(as_cryptography=True) or []
        leaf = self._tls.get_peer_certificate(as_cryptography=True)
        others = [one for one in chain if one != leaf]  # a client's own one is in the chain, a server's too
        found = ([leaf] if leaf is not None else []) + others[: MAX_CHAIN - 1]
        encoded = tuple(one.public_bytes(Encoding.DER) for one in found)
        return Secured(version=self._tls.get_protocol_version_name(), certificates=encoded)

    @property
    def pending(self) -> int:
        """Bytes that were decrypted and not read; the system's `poll` does not know of them."""
        return self._tls.pending()

    def recv_into(self, buffer: Any) -> int:
        try:
            return self._tls.recv_into(buffer, min(len(buffer), MAX_RECORD))
        except (SSL.WantReadError, SSL.WantWriteError) as error:
            raise BlockingIOError from error
        except SSL.ZeroReturnError:
            return 0
        except SSL.Error as error:
            raise self._ended(error) from error

    def recv(self, size: int, flags: int = 0) -> bytes:
        """With any flag it does not wait. What is peeked at is lost, as nobody reads on after that."""
        if flags:
            self._socket.setblocking(False)
        buffer = bytearray(min(size, MAX_RECORD))
        return bytes(buffer[: self.recv_into(buffer)])

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0) -> int:
        """With a flag it does not wait, which is for the last bytes of a connection."""
        if flags:
            self._socket.setblocking(False)
        try:
            return self._tls.send(data)
        except (SSL.WantReadError, SSL.WantWriteError) as error:
            raise BlockingIOError from error
        except SSL.Error as error:
            with contextlib.suppress(OSError):  # why the other side has ended it may be there to be read
                self.recv_into(bytearray(1))
            raise self._ended(error) from error

    def sendmsg(self, parts: Sequence[bytes | bytearray | memoryview]) -> int:
        """The bytes that were sent of all parts; the caller comes with the same ones again after a BlockingIOError."""
        return self.send(parts[0] if len(parts) == 1 or len(parts[0]) >= MAX_RECORD else b"".join(parts))

    def shutdown(self, how: int) -> None:
        """Say that we send no more (close_notify, RFC 8446 6.1), unless only the reading is to end."""
        if how != socket.SHUT_RD:
            self._say_goodbye()
        self._socket.shutdown(how)

    def close(self) -> None:
        self._say_goodbye()
        self._socket.close()

    def settimeout(self, seconds: float) -> None:
        """The kernel's time-outs: Python's would make the descriptor a non-blocking one."""
        self._socket.setblocking(True)
        period = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, period)

    def setblocking(self, flag: bool) -> None:
        self._socket.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self._socket.setsockopt(level, option, value)

    def getsockname(self) -> Any:
        return self._socket.getsockname()

    def getpeername(self) -> Any:
        return self._socket.getpeername()

    def fileno(self) -> int:
        return self._socket.fileno()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(OSError, SSL.Error):  # it failed, or the other side does not read
            self._socket.setblocking(False)
            self._tls.shutdown()

    def _ended(self, error: SSL.Error) -> OSError:
        if not is_lost_connection(error):
            self.failure = self.failure or explain(error)  # what follows the first one says nothing
        return OSError(str(error))


Transport = socket.socket | TlsSocket
"""What an association reads from and writes to."""
