"""`portal trash`: what was put away, hidden everywhere, and can be restored until it is purged."""

import click

from portal import site_settings
from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.errors import BadValue
from portal.trash import trash as bin_

ID = click.IntRange(1, 2**63 - 1)


@click.group("trash")
def trash() -> None:
    """What was put away: hidden from people, programs and peers, and restorable."""


@trash.command("list")
@on_site
def list_() -> Answer:
    """List what is in the trash, the last thrown first."""
    return Answer(
        view=[bin_.view(row) for row in all_rows(bin_.list_newest)],
        columns=("id", "kind", "project", "label", "files", "bytes", "trashed"),
        empty="The trash is empty.",
    )


@trash.command("restore")
@click.argument("trash_id", metavar="ID", type=ID)
@on_site
def restore(trash_id: int) -> Answer:
    """Put it back where it was. What contradicts newer objects is held as a conflict."""
    outcome = bin_.restore(trash_id, actor=operator())
    view = {
        "id": trash_id,
        "back": outcome.back,
        "held": outcome.held,
        "replaced": outcome.replaced,
        "hidden": outcome.hidden,
        "stayed": outcome.stayed,
    }
    return Answer(view=view, message=outcome.message)


@trash.command("purge")
@click.argument("trash_id", metavar="[ID]", type=ID, required=False)
@click.option("--all", "everything", is_flag=True, help="All that is in the trash, however short it has been there.")
@on_site
def purge(trash_id: int | None, everything: bool) -> Answer:
    """Remove it for good, and give the disk its bytes back. Without an ID: what has been there for longer than the
    site keeps it (Settings, Trash)."""
    if trash_id is not None and everything:
        raise BadValue("Name one thing by its ID, or --all, not both.")
    days = 0 if everything else site_settings.get("trash.days")
    if trash_id is not None:
        outcome = bin_.purge(trash_id, actor=operator())
    elif everything or days:
        outcome = bin_.purge_many(days, actor=operator())
    else:
        raise BadValue("This site purges nothing by its age (Settings, Trash). Name one thing by its ID, or --all.")
    view = {"id": trash_id, "files": outcome.files, "bytes": outcome.size, "stayed": outcome.stayed}
    if trash_id is None and not everything and not outcome.files and not outcome.stayed:
        told = f"Nothing has been in the trash for {days:,} days. Name one thing by its ID, or --all."
        return Answer(view=view, message=told)
    return Answer(view=view, message=outcome.message)


commands = (trash,)
