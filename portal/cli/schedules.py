"""`portal schedule`: scheduled exports."""

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.printing import Answer
from portal.exports import schedules


@click.group("schedule")
def schedule() -> None:
    """Scheduled exports."""


@schedule.command("add")
@click.argument("job_id", metavar="EXPORT", type=ROW_ID)
@click.argument("line", metavar="CRON")
@click.option("--label", default="", help="The name of the schedule.")
@click.option(
    "--patients-may-leave", is_flag=True, help="I confirm that disclosing identifiable patients is authorised."
)
@on_site
def add(job_id: int, line: str, label: str, patients_may_leave: bool) -> Answer:
    """Repeat EXPORT, the ID of an export or dry run, at the times of CRON in UTC, such as "0 2 * * *"."""
    row = schedules.add(job_id, line, confirmed=patients_may_leave, label=label, actor=operator())
    view = schedules.view(row, None)
    return Answer(view=view, message=f"Schedule {row.id}: {view['when']}, next at {row.due:%Y-%m-%d %H:%M} UTC.")


@schedule.command("list")
@on_site
def list_() -> Answer:
    """List the schedules by label."""
    return Answer(
        view=schedules.views(schedules.list_all()),
        columns=("id", "label", "cron", "state", "next", "last", "last_state"),
        empty="No schedules yet. Repeat an export with: portal schedule add",
    )


@schedule.command("remove")
@click.argument("schedule_id", metavar="ID", type=ROW_ID)
@on_site
def remove(schedule_id: int) -> Answer:
    """Remove a schedule. Its exports remain."""
    row = schedules.remove(schedule_id, actor=operator())
    return Answer(view=schedules.view(row, None), message=f"Schedule {row.label} removed. Its exports remain.")


commands = (schedule,)
