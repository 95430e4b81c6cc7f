"""Presentation contexts: what each peer is offered, and in which transfer syntax (PS3.8 7.1.1.13, PS3.4 B.4, C.5)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from portal.dicom import sop_classes
from portal.query.transcoding import TARGETS as TRANSCODING_TARGETS

Root = Literal["patient", "study"]
Roles = Mapping[str, tuple[bool, bool]]
"""SOP Class UID → whether the requestor proposed to be SCU, and SCP (PS3.7 D.3.3.4)."""

StoredSyntaxes = Callable[[Collection[str]], Mapping[str, Mapping[str, int]]]
"""SOP Classes → for each how many instances there are in each transfer syntax."""


class ProposedContext(Protocol):
    """A context of a request, as both protocol paths have it."""

    @property
    def context_id(self) -> int | None: ...

    @property
    def abstract_syntax(self) -> Any: ...

    @property
    def transfer_syntax(self) -> Sequence[Any]: ...


MAX_PDU_LENGTH = 262_144
"""Bytes of the longest P-DATA-TF that we announce to receive."""
MAX_CONTEXTS = 128
"""Presentation contexts that fit in one association: odd ids from 1 to 255."""

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
FIND_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.1": "patient", "1.2.840.10008.5.1.4.1.2.2.1": "study"}
MOVE_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.2": "patient", "1.2.840.10008.5.1.4.1.2.2.2": "study"}
GET_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.3": "patient", "1.2.840.10008.5.1.4.1.2.2.3": "study"}

IDENTIFIER_TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
"""Transfer syntaxes of identifiers, which have no pixels to compress."""
LEAST_PREFERRED = (str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian))
"""Accepted only if nothing else is proposed: the first loses the VRs, the second is retired."""
UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
COMPRESSED_TARGETS = tuple(syntax for syntax in TRANSCODING_TARGETS if syntax not in UNCOMPRESSED)
"""Transfer syntaxes that stored objects are compressed to, where the other side takes no uncompressed one."""


def service_of(sop_class: str) -> str | None:
    """The name of the service that a SOP Class belongs to; None for one that we do not support."""
    if sop_class == VERIFICATION:
        return "echo"
    if sop_class == STORAGE_COMMITMENT:
        return "commit"
    for service, classes in (("find", FIND_ROOTS), ("move", MOVE_ROOTS), ("get", GET_ROOTS)):
        if sop_class in classes:
            return service
    return "store" if sop_classes.is_storage(sop_class) else None


def syntaxes_of(service: str) -> Collection[str]:
    """The transfer syntaxes in which a service is accepted; what commitment takes is never deflated, nor turned."""
    if service == "store":
        return sop_classes.TRANSFER_SYNTAXES
    return UNCOMPRESSED if service == "commit" else IDENTIFIER_TRANSFER_SYNTAXES


def services_of(proposed: Iterable[ProposedContext]) -> frozenset[str]:
    """The services that a request proposes. Storage classes beside C-GET are for retrieving, not for storing."""
    found = {service_of(str(context.abstract_syntax)) for context in proposed} - {None}
    if "get" in found:
        found.discard("store")
    return frozenset(service for service in found if service)


def accept(
    proposed: Iterable[ProposedContext], roles: Roles, services: frozenset[str], stored: StoredSyntaxes
) -> dict[int, str]:
    """The contexts that are accepted from a peer that may use `services`: id → the one transfer syntax of each.

    What is to be retrieved over a class decides in what its contexts are accepted: `stored` is asked for it if there is
    a choice.
    """
    accepted: dict[int, str] = {}
    for_get: dict[str, dict[int, list[str]]] = {}
    for context in proposed:
        sop_class, context_id = str(context.abstract_syntax), context.context_id or 0
        service = service_of(sop_class)
        is_retrieved = is_for_get(sop_class, roles, services)
        if service is None or (service not in services and not is_retrieved):
            continue
        known = syntaxes_of(service)
        syntaxes = list(dict.fromkeys(str(syntax) for syntax in context.transfer_syntax if str(syntax) in known))
        if is_retrieved and syntaxes:
            for_get.setdefault(sop_class, {})[context_id] = syntaxes
        elif syntaxes:
            accepted[context_id] = min(syntaxes, key=lambda syntax: syntax in LEAST_PREFERRED)

    unsettled = [one for one, listed in for_get.items() if any(len(syntaxes) > 1 for syntaxes in listed.values())]
    counts = stored(unsettled) if unsettled else {}
    for sop_class, listed in for_get.items():
        accepted |= assign_for_get(listed, counts.get(sop_class, {}))
    return accepted


def is_for_get(sop_class: str, roles: Roles, services: frozenset[str]) -> bool:
    """Whether objects of a class may be sent back to the requestor, which has proposed to be their SCP for that."""
    return "get" in services and service_of(sop_class) == "store" and roles.get(sop_class, (True, False))[1]


def assign_for_get(listed: Mapping[int, list[str]], stored: Mapping[str, int]) -> dict[int, str]:
    """One of the transfer syntaxes that each context of a SOP Class lists: context's id → transfer syntax.

    A context has one transfer syntax for all that is sent over it, and what will be asked for is not known yet. So each
    stored syntax gets a context of its own where there are enough, the most frequent one first; and unless that covers
    all that is `stored` (transfer syntax → instances), one context is in a syntax that objects can be transcoded to. It
    is not where fewer objects could be sent then: a video cannot be transcoded.
    """
    chosen = {context_id: syntaxes[0] for context_id, syntaxes in listed.items() if len(syntaxes) == 1}
    for syntax in sorted(stored, key=lambda one: (one in LEAST_PREFERRED, -stored[one])):
        able = [one for one, syntaxes in listed.items() if one not in chosen and syntax in syntaxes]
        if able and syntax not in chosen.values():
            chosen[min(able, key=lambda one: len(listed[one]))] = syntax

    if not stored or not set(stored) <= set(chosen.values()):
        chosen = max(_with_target(listed, chosen), chosen, key=lambda one: _sendable(one.values(), stored))
    for context_id, syntaxes in listed.items():
        if context_id not in chosen:
            chosen[context_id] = min(syntaxes, key=lambda one: (one in chosen.values(), one in LEAST_PREFERRED))
    return chosen


def _with_target(listed: Mapping[int, list[str]], chosen: dict[int, str]) -> dict[int, str]:
    """The same with one context in a syntax that objects can be transcoded to: the last chosen one if none is free."""
    if set(UNCOMPRESSED) & set(chosen.values()):
        return chosen
    free = [one for one in listed if one not in chosen]
    taken = reversed([one for one in chosen if len(listed[one]) > 1])
    for context_id in (*free, *taken):
        for target in TRANSCODING_TARGETS:
            if target in listed[context_id]:
                return {**chosen, context_id: target}
    return chosen


def _sendable(syntaxes: Iterable[str], stored: Mapping[str, int]) -> int:
    """How many of the stored instances can be sent over contexts in these transfer syntaxes."""
    usable = set(syntaxes)
    if usable & set(UNCOMPRESSED):
        usable |= stored.keys() - set(sop_classes.VIDEO_SYNTAXES)
    elif usable & set(COMPRESSED_TARGETS):
        usable |= stored.keys() & {*sop_classes.LOSSLESS_SYNTAXES, *UNCOMPRESSED, str(ExplicitVRBigEndian)}
    return sum(count for syntax, count in stored.items() if syntax in usable)


def for_sending(pairs: Iterable[tuple[str, str]]) -> list[list[PresentationContext]]:
    """The contexts to propose for sending (SOP Class, transfer syntax) pairs, one list for each association.

    Each context has one transfer syntax, so that the acceptor cannot choose one that we do not have: the stored ones,
    and those that they can be decoded to; the last one offers all that they can be compressed to. A class is never
    split over two associations.
    """
    stored: dict[str, dict[str, None]] = {}
    for sop_class, syntax in pairs:
        stored.setdefault(sop_class, {})[syntax] = None
    batches: list[list[PresentationContext]] = [[]]
    for sop_class, syntaxes in stored.items():
        valid = (syntax for syntax in syntaxes if UID(syntax).is_valid)  # an uploaded file may name any text
        contexts = [build_context(sop_class, syntax) for syntax in dict.fromkeys((*valid, *UNCOMPRESSED))]
        contexts.append(build_context(sop_class, list(COMPRESSED_TARGETS)))
        if len(batches[-1]) + len(contexts) > MAX_CONTEXTS:
            batches.append([])
        batches[-1].extend(contexts[-MAX_CONTEXTS:])
    return batches


def choose(accepted: Mapping[tuple[str, str], int], sop_class: str, stored: str) -> tuple[int, str] | None:
    """The context's id and the transfer syntax to send an object in: as it is stored, else transcoded.

    `accepted`: SOP Class and transfer syntax → the id of a context that we may send over.
    """
    for syntax in (stored, *TRANSCODING_TARGETS):
        context_id = accepted.get((sop_class, syntax))
        if context_id is not None:
            return context_id, syntax
    return None


def describe(context: PresentationContext) -> dict[str, str | int | None]:
    """A negotiated context as the association's row stores it; result 0 is accepted (PS3.8 9.3.3.2)."""
    return {
        "sop_class": str(context.abstract_syntax),
        "transfer_syntax": str(context.transfer_syntax[0]) if context.transfer_syntax else "",
        "result": context.result,
    }
