"""The lists of schedules, and of what one was due for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case

from portal.exports import exports, schedules
from portal.jobs.progress import ACTIVE_STATES
from portal.listing import LongList
from portal.models import Job, Schedule, ScheduleRun


@dataclass(frozen=True, kw_only=True)
class ScheduledTime:
    """One time that a schedule was due; `export` is None where nothing was started, or its row is gone."""

    id: int
    due: datetime
    message: str
    export: dict[str, Any] | None


SCHEDULES = LongList(
    table=Schedule,
    rows=Schedule.select,
    views=schedules.views,
    state=lambda: Schedule.state,
    searched=(Schedule.label, Schedule.message, Schedule.cron),
    sorts={
        "label": lambda: Schedule.label.collate("NOCASE"),
        "state": lambda: Schedule.state,
        "next": lambda: Schedule.due,
    },
    usual="label",
    heads=(
        *("Schedule", "Label", "Project", "Only", "To", "When", "Cron", "State", "Why", "Next", "Last"),
        *("How the last one ended", "Confirmed by", "Confirmed"),
    ),
    cells=lambda row: (
        *(row["id"], row["label"], row["project"], row["only"], row["storage"], row["when"], row["cron"]),
        *(row["state"], row["message"], row["next"], row["last"], row["last_message"]),
        *(row["confirmed_by"], row["confirmed"]),
    ),
)


def times_for(schedule: Schedule) -> LongList:
    """The times that a schedule was due, each with its export."""

    def views(rows: Sequence[ScheduleRun]) -> list[ScheduledTime]:
        exported = [exports.view(row.job) if row.job else None for row in rows]
        return [
            ScheduledTime(id=row.id, due=row.due, message=row.message, export=export)
            for row, export in zip(rows, exported, strict=True)
        ]

    return LongList(
        table=ScheduleRun,
        rows=lambda: ScheduleRun.select(ScheduleRun, Job).left_outer_join(Job).where(ScheduleRun.schedule == schedule),
        views=views,
        state=lambda: Case(None, [(Job.id.is_null(), "out"), (Job.state.in_(ACTIVE_STATES), "active")], Job.state),
        searched=(ScheduleRun.message, Job.message),
        sorts={"due": lambda: ScheduleRun.id},
        usual="-due",
        heads=("Due", "Export", "State", "What happened", "Objects", "Bytes"),
        cells=lambda time: (
            time.due,
            *(time.export[name] if time.export else None for name in ("id", "state")),
            time.export["message"] if time.export else time.message,
            *(time.export[name] if time.export else None for name in ("items", "bytes")),
        ),
    )
