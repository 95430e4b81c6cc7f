"""`portal group` and `portal project`: the two upper levels of the tree."""

from typing import Any

import click

from portal.access import rights
from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.models import Project
from portal.tree import container_sizes, containers, groups, projects, rest_ids


@click.group("group")
def group() -> None:
    """Groups of projects."""


@group.command("add")
@click.argument("code", metavar="ID")
@click.option("--label", help="What people call it. Default: its ID.")
@on_site
def add_group(code: str, label: str | None) -> Answer:
    """Add a group."""
    added = groups.add(code, code if label is None else label, actor=operator())
    return Answer(view={"id": added.code, "label": added.label}, message=f"Group {added.code} added.")


@group.command("list")
@on_site
def list_groups() -> Answer:
    """List the groups, by ID."""
    rows = groups.list_all(actor=operator()).rows
    return Answer(
        view=[{"id": row.code, "label": row.label, "created": row.created} for row in rows],
        empty="No group yet. Add one with: portal group add ID",
    )


@click.group("project")
def project() -> None:
    """Projects, each in a group."""


@project.command("add")
@click.argument("path", metavar="GROUP/PROJECT")
@click.option("--ae-title", metavar="AET", help="The project's own AE title, by which peers call it.")
@on_site
def add_project(path: str, ae_title: str | None) -> Answer:
    """Add a project to a group that exists."""
    added = projects.add(path, ae_title, actor=operator())
    return Answer(view=_view(added), message=f"Project {added.group.code}/{added.label} added.")


@project.command("list")
@on_site
def list_projects() -> Answer:
    """List the projects, with how much each holds as it was counted last."""
    rows = containers.list_all("project", rights.scope(operator())).rows
    amounts = container_sizes.for_containers("project", [row.id for row in rows])
    views = [{**_view(row), **_amount(amounts.get(row.id, container_sizes.EMPTY))} for row in rows]
    return Answer(
        view=views,
        columns=("group", "label", "ae_title", "files", "bytes"),
        empty="No project yet. Add one with: portal project add GROUP/PROJECT",
    )


def _view(row: Project) -> dict[str, Any]:
    return {
        "id": rest_ids.encode("project", row.id),
        "group": row.group.code,
        "label": row.label,
        "ae_title": row.ae_title,
    }


def _amount(held: container_sizes.ContainerSize) -> dict[str, int]:
    return {"files": held.files, "bytes": held.size}


commands = (group, project)
