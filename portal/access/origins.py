"""Origins and actors by name: the current label of `device 7`."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, Case, Value

from portal.models import Device, Peer, User

OriginKey = tuple[str, str]
_FOREIGN = re.compile(r"([^@|]*)@([^|]*)\|(.*)", re.DOTALL)
_REFERENCE = re.compile(r"(peer|device|storage|user) ([1-9][0-9]{0,17})")


@dataclass(frozen=True, kw_only=True)
class NamedOrigin:
    """`type` and `id` as recorded, and the current name; a device also has its owner."""

    type: str
    id: str
    name: str = ""
    sponsor: str = ""
    site: str = ""
    """The other site whose number and name these are, as it recorded them."""

    @property
    def gone(self) -> bool:
        """Whether no user, device or peer has this number any more."""
        return not self.site and self.type in ("user", "device", "peer") and self.id.isdecimal() and not self.name


def parse_reference(search: str) -> OriginKey | None:
    """The peer, device, storage or user that a search names by its number, as the links of their pages do: `peer 7`."""
    match = _REFERENCE.fullmatch(search)
    return (match[1], match[2]) if match else None


def foreign_id(number: str, site: str, name: str) -> str:
    """The `id` of an origin of another site: its number, the site, and its name there, so that no row here matches.

    An `id` that is foreign already, from a third site, is kept.
    """
    if is_foreign(number):
        return number
    parts = (re.sub(r"[@|]", " ", text) for text in (number[:64], site[:64] or "another site"))
    return "@".join(parts) + f"|{name[:128]}"


def is_foreign(number: str) -> bool:
    return _FOREIGN.fullmatch(number) is not None


def names(keys: Iterable[OriginKey]) -> dict[OriginKey, NamedOrigin]:
    """The names of many origins, by one statement."""
    wanted = set(keys)
    selects = []
    for kind, table, columns in (
        ("user", User, (User.email, Value(""))),
        ("device", Device, (device_name(), User.email)),
        ("peer", Peer, (Peer.label, Value(""))),
    ):
        numbers = [int(text) for origin_type, text in wanted if origin_type == kind and text.isdecimal()]
        if numbers:
            query: Any = table.select(Value(kind), table.id, *columns).where(table.id.in_(numbers))
            selects.append(query.join(User, JOIN.LEFT_OUTER) if table is Device else query)
    found = {}
    if selects:
        rows = functools.reduce(lambda whole, one: whole.union_all(one), selects).tuples()
        found = {
            (kind, str(number)): NamedOrigin(type=kind, id=str(number), name=name, sponsor=sponsor or "")
            for kind, number, name, sponsor in rows
        }
    return {key: found.get(key, _recorded(key)) for key in wanted}


def device_name() -> Any:
    """The label of a device in SQL, with a remark if it was removed: its label may be that of another one by now."""
    return Case(None, [(Device.removed.is_null(), Device.label)], Device.label.concat(" (removed)"))


def name(row: Any) -> NamedOrigin:
    """The origin of one row (`models.Owned`)."""
    key = (row.origin_type, row.origin_id)
    return names([key])[key]


def without_name(row: Any) -> NamedOrigin:
    """The origin of one row as recorded, without looking up its name."""
    return _recorded((row.origin_type, row.origin_id))


def _recorded(key: OriginKey) -> NamedOrigin:
    """An origin without a row here."""
    match = _FOREIGN.fullmatch(key[1])
    if match is None:
        return NamedOrigin(type=key[0], id=key[1])
    return NamedOrigin(type=key[0], id=match[1], site=match[2], name=match[3])
