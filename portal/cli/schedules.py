"""`portal schedule`: exports that are repeated."""

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.exports import schedules

ID = click.IntRange(1, 2**63 - 1)


@click.group("schedule")
def schedule() -> None:
    """Exports that are repeated."""


@schedule.command("add")
@click.argument("job_id", metavar="EXPORT", type=ID)
@click.argument("line", metavar="CRON")
@click.option("--label", default="", help="What the schedule is called.")
@click.option("--patients-may-leave", is_flag=True, help="You know that identifiable patients may leave each time.")
@on_site
def add(job_id: int, line: str, label: str, patients_may_leave: bool) -> Answer:
    """Repeat an export, or what a dry run was of, at the times of CRON in UTC, such as "0 2 * * *"."""
    row = schedules.add(job_id, line, confirmed=patients_may_leave, label=label, actor=operator())
    view = schedules.view(row, None)
    return Answer(view=view, message=f"Schedule {row.id}: {view['when']}, next at {row.due:%Y-%m-%d %H:%M} UTC.")


@schedule.command("list")
@on_site
def list_() -> Answer:
    """List the schedules by their labels."""
    return Answer(
        view=schedules.views(schedules.list_all()),
        columns=("id", "label", "cron", "state", "next", "last", "last_state"),
        empty="No schedule yet. Repeat an export with: portal schedule add",
    )


@schedule.command("remove")
@click.argument("schedule_id", metavar="ID", type=ID)
@on_site
def remove(schedule_id: int) -> Answer:
    """Remove a schedule; its exports stay."""
    row = schedules.remove(schedule_id, actor=operator())
    return Answer(view=schedules.view(row, None), message=f"Schedule {row.label} removed. Its exports stay.")


commands = (schedule,)
