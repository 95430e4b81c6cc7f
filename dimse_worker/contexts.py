"""Presentation contexts: what each peer is offered, and in which transfer syntax (PS3.8 7.1.1.13, PS3.4 B.4, C.5)."""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from portal.dicom import sop_classes

Root = Literal["patient", "study"]
Roles = Mapping[str, tuple[bool, bool]]
"""SOP Class UID → whether the requestor proposed to be SCU, and SCP (PS3.7 D.3.3.4)."""

MAX_PDU_LENGTH = 262_144
"""Bytes of the longest P-DATA-TF that we announce to receive."""
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
"""Transfer syntaxes of identifiers, which have no pixels to compress."""
LEAST_PREFERRED = (str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian))
"""Accepted only if nothing else is proposed: the first loses the VRs, the second is retired."""
TRANSCODING_TARGETS = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Transfer syntaxes that every stored object can be transcoded to, the preferred one first."""


def service_of(sop_class: str) -> str | None:
    """The name of the service that a SOP Class belongs to; None for one that we do not support."""
    if sop_class == VERIFICATION:
        return "echo"
    for service, classes in (("find", FIND_ROOTS), ("move", MOVE_ROOTS), ("get", GET_ROOTS)):
        if sop_class in classes:
            return service
    return "store" if sop_classes.is_storage(sop_class) else None


def services_of(proposed: Iterable[PresentationContext]) -> frozenset[str]:
    """The services that a request proposes. Storage classes beside C-GET are for retrieving, not for storing."""
    found = {service_of(str(context.abstract_syntax)) for context in proposed} - {None}
    if "get" in found:
        found.discard("store")
    return frozenset(service for service in found if service)


def supported(
    proposed: Iterable[PresentationContext], roles: Roles, services: frozenset[str]
) -> list[PresentationContext]:
    """The contexts of a request that we support for a peer that may use `services`: one for each SOP Class.

    pynetdicom takes the first of the acceptor's transfer syntaxes that the requestor proposed, so they are in our order
    of preference.
    """
    syntaxes: dict[str, list[str]] = {}
    for context in proposed:
        asked = syntaxes.setdefault(str(context.abstract_syntax), [])
        asked.extend(str(syntax) for syntax in context.transfer_syntax)

    found = []
    for sop_class, asked in syntaxes.items():
        service, role = service_of(sop_class), roles.get(sop_class)
        is_retrieved = service == "store" and role is not None and role[1] and "get" in services
        if service is None or (service not in services and not is_retrieved):
            continue
        supported_syntaxes = sop_classes.TRANSFER_SYNTAXES if service == "store" else IDENTIFIER_TRANSFER_SYNTAXES
        known = dict.fromkeys(syntax for syntax in asked if syntax in supported_syntaxes)
        if is_retrieved:
            # First those in which every stored object can be sent by C-GET, then the others as the requestor has them.
            targets = [syntax for syntax in TRANSCODING_TARGETS if syntax in known]
            ordered = [*targets, *(syntax for syntax in known if syntax not in targets)]
        else:
            ordered = sorted(known, key=lambda syntax: syntax in LEAST_PREFERRED)
        context = build_context(sop_class, ordered or [IDENTIFIER_TRANSFER_SYNTAXES[0]])
        if service == "store":
            context.scu_role, context.scp_role = "store" in services, "get" in services
        found.append(context)
    return found


def for_sending(pairs: Iterable[tuple[str, str]]) -> list[list[PresentationContext]]:
    """The contexts to propose for sending (SOP Class, transfer syntax) pairs, one list for each association.

    Each context has one transfer syntax, so that the acceptor cannot choose one that we do not have: the stored ones,
    and those that they can be transcoded to. A class is never split over two associations.
    """
    stored: dict[str, dict[str, None]] = {}
    for sop_class, syntax in pairs:
        stored.setdefault(sop_class, {})[syntax] = None
    batches: list[list[PresentationContext]] = [[]]
    for sop_class, syntaxes in stored.items():
        valid = (syntax for syntax in syntaxes if UID(syntax).is_valid)  # an uploaded file may name any text
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
    """A negotiated context as the association's row stores it; result 0 is accepted (PS3.8 9.3.3.2)."""
    return {
        "sop_class": str(context.abstract_syntax),
        "transfer_syntax": str(context.transfer_syntax[0]) if context.transfer_syntax else "",
        "result": context.result,
    }
