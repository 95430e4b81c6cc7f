"""`portal trash`: deleted items, which can be restored until they are purged."""

import click

from portal import site_settings
from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.errors import BadValue
from portal.trash import trash as bin_


@click.group("trash")
def trash() -> None:
    """Deleted items: hidden from users, devices and peers until they are restored or purged."""


@trash.command("list")
@on_site
def list_() -> Answer:
    """List the items in the trash, newest first."""
    return Answer(
        view=[bin_.view(row) for row in all_rows(bin_.list_newest)],
        columns=("id", "kind", "project", "label", "files", "bytes", "trashed"),
        empty="The trash is empty.",
    )


@trash.command("restore")
@click.argument("trash_id", metavar="ID", type=ROW_ID)
@on_site
def restore(trash_id: int) -> Answer:
    """Restore an item to its original location. Objects that contradict newer ones are held as conflicts."""
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
@click.argument("trash_id", metavar="[ID]", type=ROW_ID, required=False)
@click.option("--all", "everything", is_flag=True, help="Everything in the trash, whatever its age.")
@on_site
def purge(trash_id: int | None, everything: bool) -> Answer:
    """Delete an item permanently and free its disk space. Without an ID: every item older than the retention
    time of the trash (Settings, Trash)."""
    if trash_id is not None and everything:
        raise BadValue("Use an ID or --all, not both.")
    days = 0 if everything else site_settings.get("trash.days")
    if trash_id is not None:
        outcome = bin_.purge(trash_id, actor=operator())
    elif everything or days:
        outcome = bin_.purge_many(days, actor=operator())
    else:
        raise BadValue("This site does not purge by age (Settings, Trash). Use an ID or --all.")
    view = {"id": trash_id, "files": outcome.files, "bytes": outcome.size, "stayed": outcome.stayed}
    if trash_id is None and not everything and not outcome.files and not outcome.stayed:
        message = f"No item is older than {days:,} days. Use an ID or --all."
        return Answer(view=view, message=message)
    return Answer(view=view, message=outcome.message)


commands = (trash,)
