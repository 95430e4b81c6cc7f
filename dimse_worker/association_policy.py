"""The gate: who may associate with us, and as whom (design decisions 1, 2 and 9)."""

from dataclasses import dataclass

from portal import site_settings
from portal.access import rights
from portal.access.actors import Actor
from portal.access.rights import NO_ACCESS, Scope
from portal.dicom import ae_titles
from portal.errors import BadValue
from portal.models import Peer
from portal.peers import peer_fields, peers, refused_callers
from portal.peers.refused_callers import Reason

CALLING_AE_TITLE_UNKNOWN = (1, 1, 3)
CALLED_AE_TITLE_UNKNOWN = (1, 1, 7)
REJECTED_TRANSIENT = (2, 1, 1)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


@dataclass(frozen=True, kw_only=True)
class AssociationRequest:
    """Who calls whom from where: titles without padding, addresses as text."""

    calling: str
    called: str
    address: str
    reached: str
    """The address of ours that was called."""
    wanted: frozenset[str] = frozenset()
    """The services whose SOP Classes it proposes."""


@dataclass(frozen=True, kw_only=True)
class AssociationGrant:
    """What an association may do; read once, at its request."""

    knock: AssociationRequest
    peer: Peer | None
    services: frozenset[str]
    actor: Actor
    scope: Scope
    project_id: int | None
    """The project whose title was called; None for the site's own."""
    is_ours: bool = False
    """`portal status` asks whether we answer; that is no association that an admin looks for."""


class AssociationRejected(Exception):
    """The association is rejected; `code` is result, source and reason."""

    def __init__(self, code: tuple[int, int, int], reason: Reason, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


def decide(knock: AssociationRequest) -> AssociationGrant:
    """Decide about one association request. Raises Refused, and keeps it under Refused callers."""
    try:
        admission = _admit(knock)
    except AssociationRejected as refusal:
        record_refusal(knock, refusal.reason, refusal.message)
        raise
    if admission.peer is not None:
        refused_callers.resolve(calling=knock.calling, address=knock.address)
    return admission


def record_refusal(knock: AssociationRequest, reason: Reason, message: str) -> None:
    """Keep that something was refused to a caller, for the list that an admin looks at."""
    refused_callers.record(
        calling=_shown(knock.calling),
        called=_shown(knock.called),
        address=knock.address,
        reason=reason,
        message=message,
        wanted=knock.wanted,
    )


def _admit(knock: AssociationRequest) -> AssociationGrant:
    options = site_settings.get_all()
    known = peers.with_ae_title(knock.calling) if _is_title(knock.calling) else []
    ours: str = options["dimse.ae_title"]
    if not known and knock.called == ours and (options["dimse.echo_anyone"] or _is_ours(knock)):
        return _guest(knock)
    enabled = [peer for peer in known if peer.enabled]
    if not enabled:
        raise _not_registered(knock, disabled=bool(known))
    project_id = None if knock.called == ours else peers.project_with_ae_title(knock.called)
    if project_id is None and knock.called != ours:
        message = f"It called us {_shown(knock.called)}; our AE title is {ours}. Set that on its side."
        raise AssociationRejected(CALLED_AE_TITLE_UNKNOWN, "called", message)
    peer = _at(knock.address, enabled)
    return _admission(knock, peer, project_id)


def _admission(knock: AssociationRequest, peer: Peer, project_id: int | None) -> AssociationGrant:
    via = f"{knock.calling} {knock.address}"
    actor = Actor(type="peer", id=str(peer.id), name=peer.label, via=via, address=knock.address)
    scope = rights.scope(actor, project_id)
    if project_id is not None and not scope.projects and not scope.stores:
        message = f"{peer.label} has no grant for the project {knock.called} that it called. Grant it the project."
        raise AssociationRejected(CALLED_AE_TITLE_UNKNOWN, "grant", message)
    return AssociationGrant(
        knock=knock,
        peer=peer,
        services=frozenset(peer.services),
        actor=actor,
        scope=scope,
        project_id=project_id,
    )


def _is_ours(knock: AssociationRequest) -> bool:
    """The site's own echo to itself, from this machine."""
    return knock.calling == knock.called and knock.address == knock.reached


def _guest(knock: AssociationRequest) -> AssociationGrant:
    """Anyone may echo where the site says so, and the site itself."""
    actor = Actor(type="peer", via=f"{knock.calling} {knock.address}", address=knock.address)
    return AssociationGrant(
        knock=knock,
        peer=None,
        services=frozenset({"echo"}),
        actor=actor,
        scope=NO_ACCESS,
        project_id=None,
        is_ours=_is_ours(knock),
    )


def _not_registered(knock: AssociationRequest, *, disabled: bool) -> AssociationRejected:
    if disabled:
        return AssociationRejected(
            CALLING_AE_TITLE_UNKNOWN, "disabled", f"The peer {knock.calling} is disabled. Enable it to let it in."
        )
    return AssociationRejected(
        CALLING_AE_TITLE_UNKNOWN, "unknown", f"No peer has the AE title {_shown(knock.calling)}. Register it."
    )


def _at(address: str, candidates: list[Peer]) -> Peer:
    """The peer of a title that may call from this address; two of them were refused at save."""
    for peer in candidates:
        if peer_fields.allows_address(peer.addresses, address):
            return peer
    labels = ", ".join(peer.label for peer in candidates)
    message = f"{labels} may not call from {address}: held. Add the address to the peer if it has moved."
    raise AssociationRejected(REJECTED_TRANSIENT, "address", message)


def _is_title(text: str) -> bool:
    try:
        return ae_titles.clean(text) == text
    except BadValue:
        return False


def _shown(title: str) -> str:
    """A title from the wire as it may be shown: what cannot be seen is a question mark."""
    return "".join(character if character.isprintable() else "?" for character in title)
