"""`portal trash`: what was put away, hidden everywhere, and can be restored."""

import click

from portal import trash as bin_
from portal.cli.door import on_site
from portal.cli.later import trash_purge
from portal.cli.paging import whole
from portal.cli.printing import Answer
from portal.provenance import operator

ID = click.IntRange(1, 2**63 - 1)


@click.group("trash")
def trash() -> None:
    """What was put away: hidden from people, programs and peers, and restorable."""


@trash.command("list")
@on_site
def list_() -> Answer:
    """List what is in the trash, the last thrown first."""
    return Answer(
        view=[bin_.view(row) for row in whole(bin_.every)],
        columns=("id", "kind", "project", "label", "files", "bytes", "trashed"),
        empty="The trash is empty.",
    )


@trash.command("restore")
@click.argument("trash_id", metavar="ID", type=ID)
@on_site
def restore(trash_id: int) -> Answer:
    """Put it back where it was. What contradicts newer objects is held as a conflict."""
    outcome = bin_.restore(trash_id, actor=operator())
    view = {"id": trash_id, "back": outcome.back, "held": outcome.held, "stayed": outcome.stayed}
    return Answer(view=view, sentence=outcome.sentence)


trash.add_command(trash_purge)
commands = (trash,)
