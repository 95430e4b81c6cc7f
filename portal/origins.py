"""Origins and actors by name: what a person reads where a row says `device 7`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from portal.models import Device, Peer, User

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Named:
    """`type` and `id` as recorded, and the name of today; a device also has the person who answers for it."""

    type: str
    id: str
    name: str = ""
    sponsor: str = ""

    @property
    def gone(self) -> bool:
        """Nothing has this number any more."""
        return self.type in ("user", "device", "peer") and self.id.isdecimal() and not self.name


def names(keys: Iterable[Key]) -> dict[Key, Named]:
    """The names of many origins, by one query a kind."""
    wanted = set(keys)
    found: dict[Key, Named] = {}
    for kind, look_up in _LOOK_UPS.items():
        numbers = [int(text) for of, text in wanted if of == kind and text.isdecimal()]
        if numbers:
            found |= look_up(numbers)
    return {key: found.get(key, Named(type=key[0], id=key[1])) for key in wanted}


def name(row: Any) -> Named:
    """The origin of one row (`models.Owned`)."""
    key = (row.origin_type, row.origin_id)
    return names([key])[key]


def _users(numbers: list[int]) -> dict[Key, Named]:
    rows = User.select(User.id, User.email).where(User.id.in_(numbers))
    return {("user", str(row.id)): Named(type="user", id=str(row.id), name=row.email) for row in rows}


def _devices(numbers: list[int]) -> dict[Key, Named]:
    rows = Device.select(Device, User).left_outer_join(User).where(Device.id.in_(numbers))
    return {
        ("device", str(row.id)): Named(
            type="device", id=str(row.id), name=row.label, sponsor=row.sponsor.email if row.sponsor else ""
        )
        for row in rows
    }


def _peers(numbers: list[int]) -> dict[Key, Named]:
    rows = Peer.select(Peer.id, Peer.label).where(Peer.id.in_(numbers))
    return {("peer", str(row.id)): Named(type="peer", id=str(row.id), name=row.label) for row in rows}


_LOOK_UPS: dict[str, Callable[[list[int]], dict[Key, Named]]] = {"user": _users, "device": _devices, "peer": _peers}
