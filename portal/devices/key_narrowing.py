"""The narrowing of API keys: to reading, to one group or project, to address ranges."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portal.access import rights
from portal.access.actors import Actor, Narrowing
from portal.errors import BadValue, PortalError
from portal.models import ApiKey, Group, Project
from portal.refusals import ErrorCollector
from portal.tree import groups, projects

MAX_RANGES = 50
PLACES_OFFERED = 500
DELETED_PLACE = "a deleted project"
"""Where the group or project of a key is gone: the key reaches nothing."""


@dataclass(frozen=True, kw_only=True)
class NarrowingColumns:
    """The narrowing of a key as columns of its row."""

    read_only: bool = False
    group_id: int | None = None
    project_id: int | None = None
    addresses: list[str]


def clean(*, read_only: bool, only: str, addresses: Sequence[str], actor: Actor) -> NarrowingColumns:
    """`only` is a group's id, GROUP/PROJECT, or empty. Raises BadValue; a place that the actor may not see is none."""
    with ErrorCollector() as errors:
        place = Narrowing()
        with errors.kept():
            place = _place(only.strip(), actor)
        ranges: list[str] = []
        with errors.kept():
            ranges = [_range(text) for text in addresses]
        if len(ranges) > MAX_RANGES:
            errors.add(BadValue(f"A key takes at most {MAX_RANGES} address ranges.", field="addresses"))
    return NarrowingColumns(
        read_only=read_only, group_id=place.group_id, project_id=place.project_id, addresses=sorted(set(ranges))
    )


def is_narrowed(row: ApiKey) -> bool:
    return bool(row.read_only or row.addresses or place_of(row))


def place_of(row: ApiKey) -> Narrowing | None:
    """The group or project to which a key is limited; None for neither."""
    if row.group_id is None and row.project_id is None:
        return None
    return Narrowing(group_id=row.group_id, project_id=row.project_id)


def allows(row: ApiKey, address: str) -> bool:
    """Whether the key may be used from this address. An IPv4 address inside an IPv6 one counts as IPv4."""
    if not row.addresses:
        return True
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return False
    caller = getattr(caller, "ipv4_mapped", None) or caller
    return any(caller in ipaddress.ip_network(text) for text in row.addresses)


def place_names(rows: Iterable[ApiKey]) -> dict[int, str]:
    """The group or GROUP/PROJECT of each narrowed key by its row number; at most two statements."""
    narrowed = [row for row in rows if place_of(row)]
    of_groups = {row.group_id for row in narrowed if row.group_id is not None}
    of_projects = {row.project_id for row in narrowed if row.project_id is not None}
    codes = {row.id: row.code for row in Group.select().where(Group.id.in_(of_groups))} if of_groups else {}
    found = Project.select(Project, Group).join(Group).where(Project.id.in_(of_projects)) if of_projects else ()
    paths = {row.id: f"{row.group.code}/{row.label}" for row in found}
    return {
        row.id: (paths if row.project_id is not None else codes).get(row.project_id or row.group_id, DELETED_PLACE)
        for row in narrowed
    }


def in_words(row: ApiKey, place: str) -> str:
    """Read only, neuro/Brain, from 10.0.0.0/24; empty for a key that is not narrowed."""
    parts = ("Read only" if row.read_only else "", place, row.addresses and f"from {', '.join(row.addresses)}")
    return ", ".join(part for part in parts if part)


def places_offered(actor: Actor) -> list[str]:
    """The places to choose from: each group before its projects, as far as the actor sees them; at most 500."""
    rows = Project.select(Project, Group).join(Group).where(Project.id.in_(rights.scope(actor).projects))
    places: dict[str, None] = {}
    for row in rows.order_by(Group.code, Project.label).limit(PLACES_OFFERED):
        places.setdefault(row.group.code)
        places[f"{row.group.code}/{row.label}"] = None
    return list(places)[:PLACES_OFFERED]


def _place(path: str, actor: Actor) -> Narrowing:
    if not path:
        return Narrowing()
    try:
        if "/" not in path:
            return Narrowing(group_id=groups.get(path, actor=actor).id)
        project = projects.get_by_path(path)
        if rights.scope(actor).reads(project.id):
            return Narrowing(project_id=project.id)
    except PortalError:
        pass
    # The same words for what is hidden from the actor.
    raise BadValue(f"There is no {path[:130]!r}. Write a group's ID, or a project as GROUP/PROJECT.", field="only")


def _range(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError as error:
        message = f"{text[:64]!r} is not an address range. Write it like 10.0.0.0/24."
        raise BadValue(message, field="addresses") from error
