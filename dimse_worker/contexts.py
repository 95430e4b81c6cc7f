"""Presentation contexts: what we offer to whom, and which transfer syntax we take (PS3.8 7.1.1.13, PS3.4 B.4, C.5)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from portal.dicom import sop_classes

Root = Literal["patient", "study"]
Roles = Mapping[str, tuple[bool, bool]]
"""SOP Class UID → whether the requestor proposed to be SCU, and SCP (PS3.7 D.3.3.4)."""

MAX_PDU_LENGTH = 262_144
"""Bytes of the largest P-DATA-TF that we ask for."""
MAX_CONTEXTS = 128
"""Presentation contexts that fit in one association: odd ids from 1 to 255."""

VERIFICATION = "1.2.840.10008.1.1"
FIND_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.1": "patient", "1.2.840.10008.5.1.4.1.2.2.1": "study"}
MOVE_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.2": "patient", "1.2.840.10008.5.1.4.1.2.2.2": "study"}
GET_ROOTS: dict[str, Root] = {"1.2.840.10008.5.1.4.1.2.1.3": "patient", "1.2.840.10008.5.1.4.1.2.2.3": "study"}

IDENTIFIER_TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
"""Transfer syntaxes of identifiers: there are no pixels in them to compress."""
LEAST_PREFERRED = (str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian))
"""Taken only where nothing else is proposed: one loses the VRs, the other is retired."""
TRANSCODING_TARGETS = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""What we can make of whatever is stored, the better one first."""


def service_of(sop_class: str) -> str | None:
    """The name of the service that a SOP Class belongs to; None for what we do not offer to anyone."""
    if sop_class == VERIFICATION:
        return "echo"
    for service, classes in (("find", FIND_ROOTS), ("move", MOVE_ROOTS), ("get", GET_ROOTS)):
        if sop_class in classes:
            return service
    return "store" if sop_classes.is_storage(sop_class) else None


def services_of(proposed: Iterable[PresentationContext]) -> frozenset[str]:
    """The services that a request is about. Objects proposed beside C-GET are to be fetched, not stored."""
    found = {service_of(str(context.abstract_syntax)) for context in proposed} - {None}
    if "get" in found:
        found.discard("store")
    return frozenset(service for service in found if service)


def supported(
    proposed: Iterable[PresentationContext], roles: Roles, services: frozenset[str]
) -> list[PresentationContext]:
    """What we support of a request, for a peer that may use `services`: one context a SOP Class.

    pynetdicom takes the first of the acceptor's transfer syntaxes that the requestor proposed, so they are put in the
    order in which we want them.
    """
    syntaxes: dict[str, list[str]] = {}
    for context in proposed:
        asked = syntaxes.setdefault(str(context.abstract_syntax), [])
        asked.extend(str(syntax) for syntax in context.transfer_syntax)
    built = (_supported(sop_class, asked, roles.get(sop_class), services) for sop_class, asked in syntaxes.items())
    return [context for context in built if context is not None]


def _supported(
    sop_class: str, asked: Sequence[str], role: tuple[bool, bool] | None, services: frozenset[str]
) -> PresentationContext | None:
    service = service_of(sop_class)
    retrieving = service == "store" and role is not None and role[1] and "get" in services
    if service is None or (service not in services and not retrieving):
        return None
    known = [
        syntax
        for syntax in asked
        if syntax in (sop_classes.TRANSFER_SYNTAXES if service == "store" else IDENTIFIER_TRANSFER_SYNTAXES)
    ]
    context = build_context(
        sop_class, (_as_scu(known) if retrieving else _as_scp(known)) or [IDENTIFIER_TRANSFER_SYNTAXES[0]]
    )
    if service == "store":
        context.scu_role, context.scp_role = "store" in services, "get" in services
    return context


def _as_scp(syntaxes: Sequence[str]) -> list[str]:
    """For what is sent to us: the requestor's first, unless it is one of LAST."""
    return sorted(dict.fromkeys(syntaxes), key=lambda syntax: syntax in LEAST_PREFERRED)


def _as_scu(syntaxes: Sequence[str]) -> list[str]:
    """For what we send by C-GET: one that whatever is stored can be sent in; else the requestor's first."""
    asked = dict.fromkeys(syntaxes)
    return [
        *(syntax for syntax in TRANSCODING_TARGETS if syntax in asked),
        *(s for s in asked if s not in TRANSCODING_TARGETS),
    ]


def for_sending(pairs: Iterable[tuple[str, str]]) -> list[list[PresentationContext]]:
    """The contexts to propose for (SOP Class, transfer syntax) pairs that are to be sent, a list an association.

    One transfer syntax a context, so that the acceptor cannot take one that we have not; beside what is stored those
    that it can be transcoded to. A class is never split over two associations.
    """
    stored: dict[str, dict[str, None]] = {}
    for sop_class, syntax in pairs:
        stored.setdefault(sop_class, {})[syntax] = None
    batches: list[list[PresentationContext]] = [[]]
    for sop_class, syntaxes in stored.items():
        valid = (syntax for syntax in syntaxes if UID(syntax).is_valid)  # an uploaded file names what it likes
        contexts = [build_context(sop_class, syntax) for syntax in dict.fromkeys((*valid, *TRANSCODING_TARGETS))]
        if len(batches[-1]) + len(contexts) > MAX_CONTEXTS:
            batches.append([])
        batches[-1].extend(contexts[:MAX_CONTEXTS])
    return batches


def choose(
    accepted: Iterable[PresentationContext], sop_class: str, stored: str
) -> tuple[PresentationContext, str] | None:
    """The context to send an object over and the transfer syntax to send it in: as it is stored, else transcoded."""
    usable = {
        str(context.transfer_syntax[0]): context
        for context in accepted
        if context.abstract_syntax == sop_class and context.as_scu
    }
    for syntax in (stored, *TRANSCODING_TARGETS):
        if syntax in usable:
            return usable[syntax], syntax
    return None


def describe(context: PresentationContext) -> dict[str, str | int | None]:
    """A negotiated context as an association's row keeps it; result 0 is accepted (PS3.8 9.3.3.2)."""
    return {
        "sop_class": str(context.abstract_syntax),
        "transfer_syntax": str(context.transfer_syntax[0]) if context.transfer_syntax else "",
        "result": context.result,
    }
