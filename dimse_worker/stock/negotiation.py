"""What pynetdicom is told, so that it accepts the contexts that `contexts.accept` has chosen."""

from collections.abc import Iterable, Mapping
from typing import Any

from pynetdicom.presentation import PresentationContext, build_context

from dimse_worker import contexts
from portal.peers.user_identity import UserIdentity


def identity_of(item: Any) -> UserIdentity | None:
    """The user identity of a request, if it has one."""
    if item is None:
        return None
    return UserIdentity(
        item.user_identity_type, bool(item.positive_response_requested), item.primary_field, item.secondary_field or b""
    )


def supported(
    proposed: Iterable[PresentationContext],
    accepted: Mapping[int, str],
    roles: contexts.Roles,
    services: frozenset[str],
) -> list[PresentationContext]:
    """The contexts of pynetdicom's acceptor: one for each SOP Class, which is all that it knows.

    So each proposed context that is accepted is cut to the one transfer syntax in which it is.
    """
    syntaxes: dict[str, dict[str, None]] = {}
    for context in proposed:
        sop_class = str(context.abstract_syntax)
        service = contexts.service_of(sop_class)
        if service in services or contexts.is_for_get(sop_class, roles, services):
            chosen = accepted.get(context.context_id or 0)
            if chosen is not None:
                context.transfer_syntax = [chosen]
            syntaxes.setdefault(sop_class, {}).update(dict.fromkeys([chosen] if chosen else []))

    found = []
    for sop_class, known in syntaxes.items():
        # Without any known one the reason is to be the transfer syntax, not the class.
        context = build_context(sop_class, list(known) or [contexts.IDENTIFIER_TRANSFER_SYNTAXES[0]])
        if contexts.service_of(sop_class) == "store":
            context.scu_role, context.scp_role = "store" in services, "get" in services
        elif contexts.service_of(sop_class) == "commit":
            context.scu_role = context.scp_role = True
        found.append(context)
    return found
