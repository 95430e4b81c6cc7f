"""`portal group` and `portal project`: the two upper levels of the tree."""

import click

from portal import containers, rest_ids
from portal.cli.door import on_site
from portal.cli.printing import Answer
from portal.provenance import operator


@click.group("group")
def group() -> None:
    """Groups of projects."""


@group.command("add")
@click.argument("code", metavar="ID")
@click.option("--label", help="What people call it. Default: its ID.")
@on_site
def add_group(code: str, label: str | None) -> Answer:
    """Add a group."""
    added = containers.add_group(code, code if label is None else label, actor=operator())
    return Answer(view={"id": added.code, "label": added.label}, sentence=f"Group {added.code} added.")


@click.group("project")
def project() -> None:
    """Projects, each in a group."""


@project.command("add")
@click.argument("path", metavar="GROUP/PROJECT")
@click.option("--ae-title", metavar="AET", help="The project's own AE title, by which peers call it.")
@on_site
def add_project(path: str, ae_title: str | None) -> Answer:
    """Add a project to a group that exists."""
    added = containers.add_project(path, ae_title, actor=operator())
    view = {
        "id": rest_ids.encode("project", added.id),
        "group": added.group.code,
        "label": added.label,
        "ae_title": added.ae_title,
    }
    return Answer(view=view, sentence=f"Project {added.group.code}/{added.label} added.")


commands = (group, project)
