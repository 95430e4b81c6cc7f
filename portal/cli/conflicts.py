"""`portal conflict`: objects that are held until an admin decides."""

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.ingest import conflicts


@click.group("conflict")
def conflict() -> None:
    """Objects that contradict one that is already here: held, and not shown to peers."""


@conflict.command("list")
@on_site
def list_() -> Answer:
    """List the open conflicts."""
    return Answer(
        view=[conflicts.view(row) for row in all_rows(conflicts.list_newest)],
        columns=("id", "project", "kind", "sop_instance_uid", "message"),
        empty="No open conflicts.",
    )


@conflict.command("show")
@click.argument("conflict_id", metavar="ID", type=ROW_ID)
@on_site
def show(conflict_id: int) -> Answer:
    """Show one conflict."""
    return Answer(view=conflicts.view(conflicts.get(conflict_id)))


@conflict.command("resolve")
@click.argument("conflict_id", metavar="ID", type=ROW_ID)
@click.argument("choice", type=click.Choice(("keep", "replace", "separate")))
@on_site
def resolve(conflict_id: int, choice: str) -> Answer:
    """Keep the current object, replace it by the held one, or separate the two. No bytes are deleted."""
    conflicts.resolve(conflict_id, choice, actor=operator())
    row = conflicts.get(conflict_id)
    return Answer(view=conflicts.view(row), message=f"Conflict {conflict_id} resolved: {choice}.")


commands = (conflict,)
