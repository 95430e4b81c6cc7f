"""Whether a caller's certificate is that of the peer whose AE title it uses: each peer has issuers of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from portal.models import Peer
from portal.peers.refused_callers import Reason
from portal.tls import certificates, chains
from portal.tls.certificates import name_of
from portal.tls.chains import NotTrusted

MAX_COMPARED = 500
"""Peers whose certificates are compared with that of a refused caller."""


@dataclass(frozen=True, kw_only=True)
class Secured:
    """How the other side of an association over TLS is known."""

    version: str
    """Such as TLSv1.3."""
    certificates: tuple[bytes, ...] = ()
    """DER: its own, and those that it sent with it; none if it has none."""


def refusal_of(peer: Peer, secured: Secured, options: Mapping[str, Any]) -> tuple[Reason, str] | None:
    """Why this caller on the TLS port is not accepted as the peer, as a reason and a sentence; None if it is.

    `options`: those of the site.
    """
    issuers, pinned = trusted(peer)
    is_known = bool(issuers or pinned)
    if not is_known and options["dimse.require_certificates"]:
        message = f"{peer.label} has no certificate registered, and the site requires one on the TLS port."
        return "certificate", f"{message} Register its certificate or its issuer at the peer."
    try:
        presented = parse(secured)
    except ValueError:
        return "certificate", f"{peer.label} presented a certificate that cannot be read. Install another one there."
    if not is_known:
        pem = certificates.pem_of(presented[:1])
        other = Peer.get_or_none(Peer.pinned == pem, Peer.id != peer.id) if pem else None
        return _of_another(peer, other, presented) if other is not None else None
    if not presented:
        message = f"{peer.label} called over TLS without a certificate, and one is registered for it."
        return "certificate", f"{message} Install its certificate there."
    try:
        require_trusted(presented, issuers, pinned, use=chains.CLIENT)
    except NotTrusted as error:
        subject = name_of(presented[0].subject)
        if other := _owner(peer, presented):
            message = f"The certificate {subject} is that of {other.label}, but the caller uses the AE title of"
            return (
                "certificate",
                f"{message} {peer.label}. Correct the AE title at the caller, or register it here too.",
            )
        message = f"{peer.label} presented the certificate {subject}, which {error}."
        return "certificate", f"{message} Install a valid one there, or register this one or its issuer at the peer."
    return None


def trusted(peer: Peer) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """Issuers, and the pinned certificate, that are registered for a peer."""
    return certificates.read_all(peer.issuers, field="issuers"), certificates.read_all(peer.pinned, field="pinned")


def parse(secured: Secured) -> list[x509.Certificate]:
    """Raises ValueError for what is no certificate."""
    return [x509.load_der_x509_certificate(one) for one in secured.certificates]


def require_trusted(
    presented: Sequence[x509.Certificate],
    issuers: Sequence[x509.Certificate],
    pinned: Sequence[x509.Certificate],
    *,
    use: x509.ObjectIdentifier,
) -> None:
    """Raise NotTrusted unless the certificate is the pinned one, or one of `issuers` vouches for it; valid now."""
    if presented[0] in pinned:
        chains.require_valid_now(presented[0])
    elif issuers:
        chains.verify(presented, issuers, use=use)
    else:
        chains.require_valid_now(presented[0])
        raise NotTrusted("is another one than the registered certificate")


def _owner(peer: Peer, presented: Sequence[x509.Certificate]) -> Peer | None:
    """Another peer whose certificate this is."""
    others = Peer.select().where(Peer.id != peer.id, (Peer.issuers != "") | (Peer.pinned != ""))
    for other in others.order_by(Peer.id).limit(MAX_COMPARED):
        issuers, pinned = trusted(other)
        try:
            require_trusted(presented, issuers, pinned, use=chains.CLIENT)
        except NotTrusted:
            continue
        return other
    return None


def _of_another(peer: Peer, other: Peer, presented: Sequence[x509.Certificate]) -> tuple[Reason, str]:
    subject = name_of(presented[0].subject)
    message = f"The certificate {subject} is that of {other.label}, but the caller uses the AE title of {peer.label}."
    return "certificate", f"{message} Correct the AE title at the caller, or register it at {peer.label} too."
