"""`portal conflict`: objects that we hold until an admin decides."""

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.ingest import conflicts

ID = click.IntRange(1, 2**63 - 1)


@click.group("conflict")
def conflict() -> None:
    """Objects that contradict what is here already: held, and shown to no peer."""


@conflict.command("list")
@on_site
def list_() -> Answer:
    """List the conflicts that are open."""
    return Answer(
        view=[conflicts.view(row) for row in all_rows(conflicts.list_newest)],
        columns=("id", "project", "kind", "sop_instance_uid", "message"),
        empty="No conflict is open.",
    )


@conflict.command("show")
@click.argument("conflict_id", metavar="ID", type=ID)
@on_site
def show(conflict_id: int) -> Answer:
    """Show one conflict."""
    return Answer(view=conflicts.view(conflicts.get(conflict_id)))


@conflict.command("resolve")
@click.argument("conflict_id", metavar="ID", type=ID)
@click.argument("choice", type=click.Choice(("keep", "replace", "separate")))
@on_site
def resolve(conflict_id: int, choice: str) -> Answer:
    """Decide: keep what is here, replace it by what was held, or separate the two. No bytes are deleted."""
    conflicts.resolve(conflict_id, choice, actor=operator())
    row = conflicts.get(conflict_id)
    return Answer(view=conflicts.view(row), message=f"Conflict {conflict_id} resolved: {choice}.")


commands = (conflict,)
