"""`portal group` and `portal project`: the two top levels of the tree."""

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
@click.option("--label", help="The displayed name. Default: the ID.")
@on_site
def add_group(code: str, label: str | None) -> Answer:
    """Create a group."""
    added = groups.add(code, code if label is None else label, actor=operator())
    return Answer(view={"id": added.code, "label": added.label}, message=f"Group {added.code} created.")


@group.command("list")
@on_site
def list_groups() -> Answer:
    """List the groups by ID."""
    rows = groups.list_all(actor=operator()).rows
    return Answer(
        view=[{"id": row.code, "label": row.label, "created": row.created} for row in rows],
        empty="No groups yet. Create one with: portal group add ID",
    )


@click.group("project")
def project() -> None:
    """Projects, each in a group."""


@project.command("add")
@click.argument("path", metavar="GROUP/PROJECT")
@click.option("--ae-title", metavar="AET", help="The project's own AE title, which peers use as called AE title.")
@on_site
def add_project(path: str, ae_title: str | None) -> Answer:
    """Create a project in an existing group."""
    added = projects.add(path, ae_title, actor=operator())
    return Answer(view=_view(added), message=f"Project {added.group.code}/{added.label} created.")


@project.command("list")
@on_site
def list_projects() -> Answer:
    """List the projects with their sizes at the last count."""
    rows = containers.list_all("project", rights.scope(operator())).rows
    sizes = container_sizes.for_containers("project", [row.id for row in rows])
    views = []
    for row in rows:
        held = sizes.get(row.id, container_sizes.EMPTY)
        views.append({**_view(row), "files": held.files, "bytes": held.size})
    return Answer(
        view=views,
        columns=("group", "label", "ae_title", "files", "bytes"),
        empty="No projects yet. Create one with: portal project add GROUP/PROJECT",
    )


def _view(row: Project) -> dict[str, Any]:
    return {
        "id": rest_ids.encode("project", row.id),
        "group": row.group.code,
        "label": row.label,
        "ae_title": row.ae_title,
    }


commands = (group, project)
