"""Origins and actors by name: what a person reads where a row says `device 7`."""

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, Value

from portal.models import Device, Peer, User

OriginKey = tuple[str, str]
_ELSEWHERE = re.compile(r"([^@|]*)@([^|]*)\|(.*)", re.DOTALL)
_ASKED = re.compile(r"(peer|device|storage|user) ([1-9][0-9]{0,17})")


@dataclass(frozen=True, kw_only=True)
class NamedOrigin:
    """`type` and `id` as recorded, and the name of today; a device also has the person who answers for it."""

    type: str
    id: str
    name: str = ""
    sponsor: str = ""
    site: str = ""
    """The other site whose number and name these are, as they were recorded there."""

    @property
    def gone(self) -> bool:
        """Nothing has this number any more."""
        return not self.site and self.type in ("user", "device", "peer") and self.id.isdecimal() and not self.name


def parse_reference(search: str) -> OriginKey | None:
    """The peer, device, storage or user that a search names by its number, as their pages link to lists: `peer 7`."""
    found = _ASKED.fullmatch(search)
    return (found[1], found[2]) if found else None


def foreign_id(number: str, site: str, name: str) -> str:
    """The `id` of an origin whose number is of another site: it stays, with the name that it had there.

    No row here is taken for it. One that came from there to here by way of a third site stays as it is.
    """
    if is_foreign(number):
        return number
    told = (re.sub(r"[@|]", " ", text) for text in (number[:64], site[:64] or "another site"))
    return "@".join(told) + f"|{name[:128]}"


def is_foreign(number: str) -> bool:
    return _ELSEWHERE.fullmatch(number) is not None


def names(keys: Iterable[OriginKey]) -> dict[OriginKey, NamedOrigin]:
    """The names of many origins, by one statement."""
    wanted = set(keys)
    selects = []
    for kind, look_up in _LOOK_UPS.items():
        numbers = [int(text) for of, text in wanted if of == kind and text.isdecimal()]
        if numbers:
            selects.append(look_up(numbers))
    found = {} if not selects else _named(functools.reduce(lambda whole, one: whole.union_all(one), selects))
    return {key: found.get(key, _recorded(key)) for key in wanted}


def name(row: Any) -> NamedOrigin:
    """The origin of one row (`models.Owned`)."""
    key = (row.origin_type, row.origin_id)
    return names([key])[key]


def without_name(row: Any) -> NamedOrigin:
    """The origin of one row as it is recorded, where nobody reads its name."""
    return _recorded((row.origin_type, row.origin_id))


def _recorded(key: OriginKey) -> NamedOrigin:
    """An origin that has no row here."""
    found = _ELSEWHERE.fullmatch(key[1])
    if found is None:
        return NamedOrigin(type=key[0], id=key[1])
    return NamedOrigin(type=key[0], id=found[1], site=found[2], name=found[3])


def _named(query: Any) -> dict[OriginKey, NamedOrigin]:
    return {
        (kind, str(number)): NamedOrigin(type=kind, id=str(number), name=name, sponsor=sponsor or "")
        for kind, number, name, sponsor in query.tuples()
    }


def _users(numbers: list[int]) -> Any:
    return User.select(Value("user"), User.id, User.email, Value("")).where(User.id.in_(numbers))


def _devices(numbers: list[int]) -> Any:
    columns = (Value("device"), Device.id, Device.label, User.email)
    return Device.select(*columns).join(User, JOIN.LEFT_OUTER).where(Device.id.in_(numbers))


def _peers(numbers: list[int]) -> Any:
    return Peer.select(Value("peer"), Peer.id, Peer.label, Value("")).where(Peer.id.in_(numbers))


_LOOK_UPS: dict[str, Callable[[list[int]], Any]] = {"user": _users, "device": _devices, "peer": _peers}
