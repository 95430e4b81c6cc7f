"""SOP Class Extended Negotiation of query and retrieve: what we answer, and what a requestor may do by it (PS3.4 C.5).

The first byte of C-FIND's information is about relational queries, then come combined date-time matching, fuzzy
matching of names, adjustment to time zones, conversion to enhanced multi-frame objects, empty and multiple values
(PS3.4 C.5.1.1). That of C-MOVE and C-GET begins with relational retrieval (PS3.4 C.5.2.1, C.5.3.1).
"""

from collections.abc import Collection, Mapping

from dimse_worker import contexts
from portal.query.options import QueryOptions

Negotiated = Mapping[str, bytes]
"""SOP Class UID → service class application information."""

FIND = bytes((1, 1, 1, 0, 0, 1, 1))
"""What a C-FIND may use, byte by byte. No time zone is known of most objects, and none is converted."""
RETRIEVE = bytes((1,))
"""The same of C-MOVE and C-GET."""
MAX_INFORMATION = 64
"""Bytes of it that are read for a SOP Class; the standard defines 7."""


def answer(offered: Negotiated, accepted: Collection[str]) -> dict[str, bytes]:
    """The answer for each accepted SOP Class: no more bytes than were offered, and 1 only where that was offered."""
    answered = {}
    for sop_class, information in offered.items():
        supported = {"find": FIND, "move": RETRIEVE, "get": RETRIEVE}.get(contexts.service_of(sop_class) or "")
        if supported and information and sop_class in accepted:
            pairs = zip(information, supported, strict=False)
            answered[sop_class] = bytes(wanted == can == 1 for wanted, can in pairs)
    return answered


def query_options(negotiated: Negotiated, sop_class: str) -> QueryOptions:
    """What the requestor may use in a C-FIND of this SOP Class."""
    said = negotiated.get(sop_class, b"").ljust(len(FIND), b"\0")
    return QueryOptions(
        relational=bool(said[0]),
        date_time=bool(said[1]),
        fuzzy_names=bool(said[2]),
        empty_values=bool(said[5]),
        multiple_values=bool(said[6]),
    )


def is_relational(negotiated: Negotiated, sop_class: str) -> bool:
    """Whether a C-MOVE or C-GET of this SOP Class may leave out the unique keys of the levels above."""
    return negotiated.get(sop_class, b"")[:1] == b"\1"
