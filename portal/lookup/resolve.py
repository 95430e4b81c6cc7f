"""A path of labels and ids from the group down to a file, and what is directly below its end."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from portal.access import rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadValue, Missing
from portal.listing import ListInParts, PageRequest, find_ids
from portal.models import File, Group
from portal.tree import containers, files, groups, rest_ids
from portal.tree.containers import KINDS_FROM_TOP, TABLES

FILES = "files"
"""The word before the name of a file, where a container below might have that label."""
MAX_ELEMENTS, MAX_ELEMENT_LENGTH = 7, 300
MAX_CHILDREN = 1000
_ID = re.compile(r"<id:([^<>]*)>")


def resolve(path: Sequence[str], *, actor: Actor) -> list[Any]:
    """The rows along a path: group, containers, and at its end perhaps a file; of equal labels the first.

    An element is a label (of a group its code), `<id:…>`, or, behind `files` or where no container has that label, the
    name of a file. Raises Missing.
    """
    if len(path) > MAX_ELEMENTS or any(len(element) > MAX_ELEMENT_LENGTH for element in path):
        raise BadValue("A path has a group, a project, a subject, a session, an acquisition and a file at most.")
    scope = rights.scope(actor)
    found: list[Any] = []
    names = iter(path)
    for name in names:
        if not found:
            found.append(groups.get(_ID.sub(r"\1", name), actor=actor))
        elif name == FILES and not isinstance(found[-1], Group | File):
            found += [_file(found[-1], inside, scope) for inside in itertools.islice(names, 1)]
        elif (below := _below(found[-1], name, scope)) is not None:
            found.append(below)
        else:
            found.append(_file(found[-1], name, scope))
    return found


def children(row: Any, *, actor: Actor) -> tuple[ListInParts[Any] | None, list[Any]]:
    """The containers directly in what `resolve` found last, and its files; for nothing the groups.

    At most `MAX_CHILDREN` of each. The containers are to be read in parts, since each may have many files.
    """
    scope, some = rights.scope(actor), PageRequest(limit=MAX_CHILDREN)
    if row is None:
        return None, groups.list_all(some, actor=actor).rows
    if isinstance(row, File):
        return None, []
    kind, below = _kind_below(row), None
    if kind is not None:
        below = find_ids(containers.in_scope(kind, scope).where(_parent(row).id == row.id), TABLES[kind], some)
    if isinstance(row, Group):
        return below, []
    return below, files.list_directly_in(containers.kind_of(row), row.id, scope, some).rows


def kind_of(row: Any) -> str:
    """group, a kind of container, or file."""
    if isinstance(row, Group | File):
        return "group" if isinstance(row, Group) else "file"
    return containers.kind_of(row)


def _below(row: Any, name: str, scope: Scope) -> Any:
    kind = None if isinstance(row, File) else _kind_below(row)
    if kind is None:
        return None
    table = TABLES[kind]
    query = containers.in_scope(kind, scope).where(_parent(row).id == row.id)
    if match := _ID.fullmatch(name):
        return query.where(table.id == rest_ids.row_id(match[1], kind)).get_or_none()
    return query.where(table.label == unicodedata.normalize("NFC", name)).order_by(table.id).first()


def _file(row: Any, name: str, scope: Scope) -> File:
    nothing = f"There is nothing with the name {name[:64]!r} at this path."
    if isinstance(row, Group | File):
        raise Missing(nothing)
    kind = containers.kind_of(row)
    if match := _ID.fullmatch(name):
        file = files.get(rest_ids.row_id(match[1], "file"), scope)
        if (file.parent_type, file.parent_id) != (kind, row.id):
            raise Missing(nothing)
        return file
    try:
        return files.get_by_name(kind, row.id, name, scope)
    except Missing as error:
        raise Missing(nothing) from error


def _kind_below(row: Any) -> str | None:
    if isinstance(row, Group):
        return "project"
    kinds = dict(itertools.pairwise(KINDS_FROM_TOP))
    return kinds.get(containers.kind_of(row))


def _parent(row: Any) -> Any:
    return Group if isinstance(row, Group) else TABLES[containers.kind_of(row)]
