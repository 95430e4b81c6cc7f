"""What an association may do once it is granted: store, find and retrieve, without a word of pynetdicom."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydicom.dataset import Dataset

from dimse_worker import association_policy
from dimse_worker.association_policy import AssociationGrant
from dimse_worker.status import UnknownDestination
from portal.errors import BadIdentifier, NotAllowed, NotDicom
from portal.ingest import incoming
from portal.ingest.incoming import Incoming
from portal.ingest.placement import Placement
from portal.ingest.routing import Sender
from portal.models import Peer
from portal.peers import peers, query_settings
from portal.query import find as query
from portal.query import identifiers, retrieve
from portal.query import stored_syntaxes as stored
from portal.query.find import EncodedMatch
from portal.query.identifiers import Root
from portal.query.options import QueryOptions
from portal.query.retrieve import Plan


def require(grant: AssociationGrant, service: str) -> None:
    """Raise NotAllowed unless the peer may use the service."""
    if service not in grant.services:
        raise NotAllowed(f"This peer is not allowed to {service} here.")


def open_store(
    grant: AssociationGrant,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    abstract_syntax_uid: str,
    transfer_syntax_uid: str,
) -> Incoming:
    """Begin one C-STORE: write the data set to what is returned, then `commit` it.

    The first two UIDs are the command's, the others its presentation context's. Raises NotAllowed, NotDicom, Missing
    or NoSpace before a byte is written.
    """
    require(grant, "store")
    if sop_class_uid != abstract_syntax_uid:
        raise NotDicom("The command names another SOP Class than its presentation context.")
    return incoming.open(
        scope=grant.scope,
        origin=grant.actor.origin,
        placement=Placement(
            called_project=grant.project_id,
            store_to=grant.peer.store_to_id if grant.peer is not None else None,
            sender=Sender(peer_id=grant.peer.id if grant.peer is not None else None, called=grant.request.called),
        ),
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
    )


def find(
    grant: AssociationGrant, encoded: bytes, transfer_syntax_uid: str, *, root: Root, options: QueryOptions
) -> Iterator[EncodedMatch]:
    """The matches of an encoded identifier, each encoded in the same transfer syntax.

    Raises NotAllowed or BadIdentifier at once, before the first match is read.
    """
    require(grant, "find")
    # A match can be retrieved from the AE title that the requestor called.
    called = grant.request.called
    used = query_settings.options_for(grant.peer, options)
    try:
        return query.find(encoded, transfer_syntax_uid, grant.scope, root=root, retrieve_ae_title=called, options=used)
    except BadIdentifier as error:
        try:
            query.find(encoded, transfer_syntax_uid, grant.scope, root=root, options=replace(used, relational=True))
        except BadIdentifier:
            raise error from None
        raise BadIdentifier(f"{error.message} Lenient queries of this peer would allow it.") from error


def stored_syntaxes(grant: AssociationGrant, sop_classes: Collection[str]) -> Mapping[str, Mapping[str, int]]:
    """SOP Class → transfer syntax → number of instances that the peer may retrieve, and some that it may not."""
    return stored.of_classes(grant.scope.projects, sop_classes)


def plan_retrieval(
    grant: AssociationGrant, encoded: bytes, transfer_syntax_uid: str, *, root: Root, relational: bool
) -> tuple[Plan, Dataset]:
    """What a C-MOVE or C-GET means, and its decoded identifier. Raises BadIdentifier."""
    identifier = identifiers.decode(encoded, transfer_syntax_uid)
    return retrieve.plan(identifier, grant.scope, root=root, relational=relational), identifier


def move_destination(grant: AssociationGrant, ae_title: str) -> Peer:
    """The peer that the requestor may name as destination. Raises UnknownDestination, and records the refusal."""
    requestor: Any = grant.peer
    candidates = [peer for peer in peers.with_ae_title(ae_title) if peer.enabled and peers.may_move_to(requestor, peer)]
    candidates.sort(key=lambda peer: peer.id != requestor.id)
    for peer in candidates:
        if peer.host:
            return peer

    message = f"{requestor.label} may not move to {ae_title}: none of its C-MOVE destinations has this AE title."
    if candidates:
        message = f"{candidates[0].label} has no host and port to move to. Add them to the peer."
    association_policy.record_refusal(grant.request, "destination", message)
    raise UnknownDestination(message)


def describe_retrieval(
    operation: Literal["move", "get"], identifier: Dataset, plan: Plan, destination: Peer, called_project: int | None
) -> dict[str, Any]:
    """The arguments of `retrieve_jobs.start`: what is retrieved, in words and by its UIDs, and where it is sent."""
    keywords = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
    uids = {}
    for name, keyword in keywords.items():
        value = identifier.get(keyword) or []
        uids[name] = [str(uid) for uid in ([value] if isinstance(value, str) else value)]

    level = str(identifier.get("QueryRetrieveLevel", ""))
    part = ""
    if level == "SERIES":
        part = f"{len(uids['series']):,} series of "
    elif level == "IMAGE":
        part = f"{plan.total:,} instance{'' if plan.total == 1 else 's'} of "
    narrowed = {} if called_project is None else {"called_project": called_project}
    return {
        "kind": operation,
        "what": f"{part}{plan.words} to {destination.label}",
        "params": {"level": level, **uids, "destination": destination.id if operation == "move" else None, **narrowed},
    }
