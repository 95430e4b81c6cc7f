"""The kinds of containers, and the ids of those that a container is in."""

from typing import Any

from portal.tree import containers, rest_ids
from portal.tree.containers import Kind

KINDS: tuple[Kind, ...] = ("project", "subject", "session", "acquisition")


ANY_KIND = (*KINDS, "container")
"""`container` is for an id of any kind."""


def located(kind: str, container_id: str) -> tuple[Kind, int]:
    """Kind and row number of a container. Raises Missing."""
    if kind == "container" and rest_ids.decode(container_id)[0] in KINDS:
        kind = rest_ids.decode(container_id)[0]
    return kind, rest_ids.row_id(container_id, kind)  # type: ignore[return-value]


def parents(row: Any) -> dict[str, str]:
    """The id of each ancestor of a container, by its kind; of a group its code."""
    above: dict[str, str] = {}
    while containers.kind_of(row) != "project":
        row = containers.parent_of(row)
        above[containers.kind_of(row)] = rest_ids.encode(containers.kind_of(row), row.id)
    return above | {"group": row.group.code}
