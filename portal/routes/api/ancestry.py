"""The kinds of containers, and the ids of those that a container is in."""

from typing import Any

from portal.tree import containers, rest_ids
from portal.tree.containers import Kind

KINDS: tuple[Kind, ...] = ("project", "subject", "session", "acquisition")


def parents(row: Any) -> dict[str, str]:
    """The id of each ancestor of a container, by its kind; of a group its code."""
    above: dict[str, str] = {}
    while containers.kind_of(row) != "project":
        row = containers.parent_of(row)
        above[containers.kind_of(row)] = rest_ids.encode(containers.kind_of(row), row.id)
    return above | {"group": row.group.code}
