"""TLS to a peer that we call: the handshake, and whether it is the peer, before anything else is sent."""

import select
import selectors
import socket
import time
from collections.abc import Callable

from dimse_worker.tls import contexts
from dimse_worker.tls.failures import HandshakeFailed
from dimse_worker.tls.sockets import TlsSocket
from portal.errors import Outage
from portal.models import Peer
from portal.peers import caller_certificates
from portal.tls import chains, site_certificate
from portal.tls.certificates import name_of
from portal.tls.chains import NotTrusted

HANDSHAKE_SECONDS = 30.0
POLL_SECONDS = 0.2
"""How often `waiting` is called."""


def secure(connected: socket.socket, peer: Peer, *, waiting: Callable[[], None]) -> TlsSocket:
    """TLS over a connected socket, once the peer's certificate is trusted; else the socket is closed.

    `waiting` is called during each wait, and may raise to end it. Raises Outage with the reason in words.
    """
    try:
        with_tls = TlsSocket(
            connected, contexts.context(site_certificate.current()), is_server=False, name=_host_name(peer)
        )
        connected.setblocking(False)
        _shake_hands(with_tls, peer, waiting)
        _require_peer(with_tls, peer)
    except HandshakeFailed as failure:
        connected.close()
        raise Outage(f"{peer.label} {failure}. Check TLS there, and the port {peer.port}.") from failure
    except BaseException:
        connected.close()
        raise
    return with_tls


def _host_name(peer: Peer) -> str:
    """The name to ask for, which may not be an address (RFC 6066 3)."""
    wanted = peer.tls_name or peer.host
    return "" if ":" in wanted or wanted.replace(".", "").isdecimal() else wanted


def _shake_hands(with_tls: TlsSocket, peer: Peer, waiting: Callable[[], None]) -> None:
    poll, deadline = select.poll(), time.monotonic() + HANDSHAKE_SECONDS
    while wanted := with_tls.handshake():
        poll.register(with_tls, select.POLLIN if wanted == selectors.EVENT_READ else select.POLLOUT)
        while not poll.poll(POLL_SECONDS * 1000):
            waiting()
            if time.monotonic() > deadline:
                message = f"{peer.label} accepted the connection, but did not answer the TLS handshake"
                raise Outage(f"{message} within {HANDSHAKE_SECONDS:.0f} s. Does it expect TLS on port {peer.port}?")


def _require_peer(with_tls: TlsSocket, peer: Peer) -> None:
    """Raise Outage unless the certificate is that of the peer, by its issuers (else the system's) and by its name."""
    try:
        presented = caller_certificates.parse(with_tls.secured)
    except ValueError:
        raise Outage(f"The certificate of {peer.label} cannot be read. Install another one there.") from None
    issuers, pinned = caller_certificates.trusted(peer)
    subject = name_of(presented[0].subject)
    try:
        if issuers or pinned:
            caller_certificates.require_trusted(presented, issuers, pinned, use=chains.SERVER)
        else:
            chains.verify(presented, None, use=chains.SERVER)
    except NotTrusted as error:
        remedy = "Install a valid one there, or register it or its issuer at the peer."
        raise Outage(f"The certificate {subject} of {peer.label} {error}. {remedy}") from error
    wanted = peer.tls_name or peer.host
    if presented[0] not in pinned and not peer.tls_any_name and not chains.has_name(presented[0], wanted):
        names = ", ".join(chains.names(presented[0])[:5]) or subject
        remedy = "Enter its name under Name in the certificate at the peer, if it is the right system."
        raise Outage(f"The certificate of {peer.label} is for {names[:200]}, and not for {wanted}. {remedy}")
