"""Tickets: secrets that let whoever has one download one thing for some minutes (docs/decisions/0093)."""

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from portal import runtime
from portal.access.actors import Actor
from portal.devices import key_authentication, key_format
from portal.errors import BadValue, Missing
from portal.models import Ticket, now, writing
from portal.users import users

LIFETIME = timedelta(minutes=15)
"""How long a download may begin; one that has begun goes on."""
MAX_OF_ACTOR = 1000
"""Tickets of one actor; of more, the oldest end."""
SECRET_BYTES = 32
MAX_LENGTH = 100
MAX_TARGET_BYTES = 64 << 10
"""Bytes of what a ticket is for, as JSON: the database keeps it."""
INVALID = "This download ticket is unknown or has expired. Ask for a new one."

Kind = Literal["file", "containers"]


@dataclass(frozen=True, kw_only=True)
class Redeemed:
    """What a ticket lets do, and who asked for it, with the rights that the actor has now."""

    kind: str
    target: dict[str, Any]
    actor: Actor


def issue(kind: Kind, target: dict[str, Any], *, actor: Actor) -> str:
    """A new ticket for a download that the actor may do; only its digest is stored.

    Raises BadValue for a target of more than `MAX_TARGET_BYTES`.
    """
    if len(json.dumps(target, ensure_ascii=False).encode()) > MAX_TARGET_BYTES:
        raise BadValue(
            f"The containers and filters of the download take more than {MAX_TARGET_BYTES >> 10} KiB. Ask for fewer"
            " containers at once, or with fewer types and tags in the filters."
        )
    secret = secrets.token_urlsafe(SECRET_BYTES)
    moment = now()
    own = Ticket.select(Ticket.id).where(Ticket.actor_type == actor.type, Ticket.actor_id == actor.id)
    with writing():
        Ticket.delete().where(Ticket.expires <= moment).execute()
        kept = own.order_by(Ticket.id.desc()).limit(1).offset(MAX_OF_ACTOR - 2).scalar()
        if kept is not None:
            Ticket.delete().where(Ticket.id.in_(own.where(Ticket.id < kept))).execute()
        Ticket.create(
            digest=_digest(secret),
            kind=kind,
            target=target,
            actor_type=actor.type,
            actor_id=actor.id,
            actor_via=_via(actor),
            expires=moment + LIFETIME,
        )
    return secret


def redeem(secret: str, *, address: str) -> Redeemed:
    """Raises Missing for a ticket that is unknown or has expired, and for an actor that is refused by now.

    The ticket of a browser ends with the user's sessions, that of a key with the key.
    """
    found: Ticket | None = None
    if len(secret) <= MAX_LENGTH and secret.isascii():
        found = Ticket.get_or_none(Ticket.digest == _digest(secret), Ticket.expires > now())
    if found is None:
        raise Missing(INVALID)
    if key_format.is_key_id(found.actor_via):
        actor = key_authentication.holder(found.actor_via, address=address)
    else:
        user = users.for_session(found.actor_via)
        actor = None if user is None or user.must_change_password else users.actor(user, address)
    if actor is None:
        raise Missing(INVALID)
    return Redeemed(kind=found.kind, target=found.target, actor=actor)


def _via(actor: Actor) -> str:
    """The key that the actor used, or the session of the user in a browser."""
    if key_format.is_key_id(actor.via) or actor.type != "user":
        return actor.via
    return users.session_id(users.get(int(actor.id)))


def _digest(secret: str) -> str:
    return runtime.secrets().digest("ticket", secret)
