"""How much a peer may do at once, as its row keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from portal.errors import BadValue
from portal.models import Peer

MAX_AT_ONCE = 200
"""Associations of all peers together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """The limits of one peer. A key that a row lacks has its default; one that is not known here is ignored."""

    incoming: int | None = None
    """Associations that it may have open with us at once; None: as many as the site allows."""

    @property
    def stored(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def of(peer: Peer) -> PeerLimits:
    known = {field.name for field in fields(PeerLimits)}
    return PeerLimits(**{name: value for name, value in (peer.limits or {}).items() if name in known})


def clean(values: Mapping[str, Any]) -> PeerLimits:
    """The limits as a form or a command gives them. Raises BadValue with the field."""
    return PeerLimits(incoming=number(values["max_associations"], most=MAX_AT_ONCE, field="max_associations"))


def number(value: Any, *, most: int, field: str) -> int | None:
    """A number from 1 to `most`; None for an empty value. Raises BadValue."""
    text = str("" if value is None else value).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise BadValue(f"{text[:16]} is out of range. Enter 1 to {most:,}, or nothing for no limit.", field=field)
    return int(text)
