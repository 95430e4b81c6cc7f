"""Decides about association requests: who may associate with us, and as which peer."""

import ipaddress
from dataclasses import dataclass, replace

from dimse_worker.refusals import refusals
from dimse_worker.wire.admissions import NOBODY, Admissions
from portal import site_settings
from portal.access import rights
from portal.access.actors import Actor
from portal.access.rights import NO_ACCESS, Scope
from portal.dicom import ae_titles
from portal.errors import BadValue
from portal.models import Peer
from portal.peers import caller_certificates, limits, peer_fields, peers, refused_callers, user_identity
from portal.peers.caller_certificates import Secured
from portal.peers.refused_callers import Reason, Refusal
from portal.peers.user_identity import UserIdentity

NO_REASON_GIVEN = (1, 1, 1)
CALLING_AE_TITLE_UNKNOWN = (1, 1, 3)
CALLED_AE_TITLE_UNKNOWN = (1, 1, 7)
REJECTED_TRANSIENT = (2, 1, 1)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
APPLICATION_CONTEXT_UNKNOWN = (1, 1, 2)
PROTOCOL_VERSION_UNKNOWN = (1, 2, 2)
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


@dataclass(frozen=True, kw_only=True)
class AssociationRequest:
    """What an A-ASSOCIATE-RQ says: titles without padding, addresses as text."""

    calling: str
    called: str
    address: str
    local_address: str
    """The local address that the peer connected to."""
    services: frozenset[str] = frozenset()
    """The services whose SOP Classes it proposes."""
    secured: Secured | None = None
    """How it is known over TLS; None in clear text."""
    identity: UserIdentity | None = None
    """The user identity that it sends; an association does not keep it."""


@dataclass(frozen=True, kw_only=True)
class AssociationGrant:
    """What an association may do; read once, at its request."""

    request: AssociationRequest
    peer: Peer | None
    services: frozenset[str]
    actor: Actor
    scope: Scope
    project_id: int | None
    """The project whose AE title was called; None for the site's own title."""
    is_self_echo: bool = False
    """The echo by which `portal status` checks the listener; it is not recorded as an association."""

    @property
    def peer_id(self) -> int | None:
        return None if self.peer is None else int(self.peer.id)


class AssociationRejected(Exception):
    """The association is rejected; `code` is result, source and reason."""

    def __init__(self, code: tuple[int, int, int], reason: Reason, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def decide(request: AssociationRequest) -> AssociationGrant:
    """Decide about one association request. Raises AssociationRejected, and records the refused caller."""
    try:
        grant = _decide(request)
    except AssociationRejected as rejection:
        record_refusal(request, rejection.reason, rejection.message)
        raise
    if grant.peer is not None:
        refused_callers.resolve(calling=request.calling, address=request.address)
    return grant


def admit(grant: AssociationGrant, admissions: Admissions) -> None:
    """Count one more association of the site and of the peer.

    Raises AssociationRejected above the limit of one of them, and records the refused caller.
    """
    site_limit = site_settings.get_cached("association.at_once")
    peer_limit = None if grant.peer is None else limits.of(grant.peer).incoming
    exceeded = admissions.admit(grant.peer_id or NOBODY, of_site=site_limit, of_peer=peer_limit)
    if exceeded is None:
        return
    message = f"More than {site_limit} associations at once, the limit of the site."
    if exceeded == "peer":
        message = f"More than {peer_limit} associations at once, the limit of {grant.actor.name}. Raise it at the peer."
    record_refusal(grant.request, "limit", message)
    raise AssociationRejected(LOCAL_LIMIT_EXCEEDED, "limit", message)


def plain_address(address: str) -> str:
    """An IPv4 address that came in on an IPv6 socket, as an IPv4 address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def record_refusal(request: AssociationRequest, reason: Reason, message: str) -> None:
    """Add the refusal to the list of refused callers."""
    refusals.add(
        Refusal(
            calling=_printable(request.calling),
            called=_printable(request.called),
            address=request.address,
            reason=reason,
            message=message,
            wanted=request.services,
        )
    )


def record_handshake_failure(address: str, reason: str) -> None:
    """Add a caller on the TLS port whose handshake failed, within seconds; `reason`: what comes after its address."""
    caller = plain_address(address)
    message = f"The caller at {caller} {reason}. Its AE title is not known, as it never came to its request."
    refusals.add_later(Refusal(calling="", called="", address=caller, reason="handshake", message=message))


def _decide(request: AssociationRequest) -> AssociationGrant:
    options = site_settings.get_all()
    calling, called, address = request.calling, request.called, request.address
    try:
        known = peers.with_ae_title(ae_titles.clean(calling))
    except BadValue:  # no peer has a title that the standard does not allow
        known = []
    ours: str = options["dimse.ae_title"]
    is_self_echo = calling == called and address == request.local_address
    anyone_echoes = options["dimse.echo_anyone"] and not (request.secured and options["dimse.require_certificates"])
    if not known and called == ours and (anyone_echoes or is_self_echo):
        return _grant_echo(request, is_self_echo=is_self_echo)

    enabled = [peer for peer in known if peer.enabled]
    if not enabled and known:
        message = f"The peer {calling} is disabled. Enable it to accept its associations."
        raise AssociationRejected(CALLING_AE_TITLE_UNKNOWN, "disabled", message)
    if not enabled:
        message = f"No peer has the AE title {_printable(calling)}. Add one."
        raise AssociationRejected(CALLING_AE_TITLE_UNKNOWN, "unknown", message)

    project_id = None if called == ours else peers.project_with_ae_title(called)
    if project_id is None and called != ours:
        message = (
            f"The called AE title {_printable(called)} is not ours, {ours}. Correct it in the peer's configuration."
        )
        raise AssociationRejected(CALLED_AE_TITLE_UNKNOWN, "called", message)

    # At most one peer: two with the same title and overlapping addresses are refused when they are saved.
    peer = next((peer for peer in enabled if peer_fields.allows_address(peer.addresses, address)), None)
    if peer is None:
        labels = ", ".join(peer.label for peer in enabled)
        message = f"{labels} may not call from {address}. Add the address to the peer if it has moved."
        raise AssociationRejected(REJECTED_TRANSIENT, "address", message)
    if request.secured is None and peer.tls:
        message = f"{peer.label} called in clear text, and may call over TLS only. Set up TLS there"
        raise AssociationRejected(NO_REASON_GIVEN, "clear", f"{message}, to port {options['dimse.tls_port'] or '–'}.")
    if request.secured and (refusal := caller_certificates.refusal_of(peer, request.secured, options)):
        raise AssociationRejected(NO_REASON_GIVEN, *refusal)
    return _grant_peer(request, peer, project_id)


def _grant_echo(request: AssociationRequest, *, is_self_echo: bool) -> AssociationGrant:
    """Grant C-ECHO only: to the site itself, or to any caller where the site allows that."""
    actor = Actor(type="peer", via=f"{request.calling} {request.address}", address=request.address)
    return AssociationGrant(
        request=replace(request, identity=None),
        peer=None,
        services=frozenset({"echo"}),
        actor=actor,
        scope=NO_ACCESS,
        project_id=None,
        is_self_echo=is_self_echo,
    )


def _grant_peer(request: AssociationRequest, peer: Peer, project_id: int | None) -> AssociationGrant:
    """Grant what the peer may do. Raises AssociationRejected for another user identity than it has to send."""
    site_rule = site_settings.get_cached("association.identity")
    if refusal := user_identity.refusal(peer, request.identity, site_rule=site_rule):
        raise AssociationRejected(NO_REASON_GIVEN, "identity", refusal)
    request = replace(request, identity=None)
    via = f"{request.calling} {request.address}"
    actor = Actor(type="peer", id=str(peer.id), name=peer.label, via=via, address=request.address)
    scope = rights.scope(actor, project_id)
    if project_id is not None and not scope.projects and not scope.stores:
        message = f"{peer.label} called the project {request.called}, to which it has no access. Give it access."
        raise AssociationRejected(CALLED_AE_TITLE_UNKNOWN, "grant", message)
    return AssociationGrant(
        request=request,
        peer=peer,
        # A peer that we ask for storage commitment reports over the same SOP Class.
        services=frozenset(peer.services) | (frozenset({"commit"}) if peer.confirm_sends else frozenset()),
        actor=actor,
        scope=scope,
        project_id=project_id,
    )


def _printable(ae_title: str) -> str:
    """A title from the network with a question mark for each character that cannot be shown."""
    return "".join(character if character.isprintable() else "?" for character in ae_title)
