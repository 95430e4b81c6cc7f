"""Numbered steps from one release's tables to the next; applied under a lock by `portal migrate` and at `portal up`.

An empty database gets the current tables of the models, and every step is recorded as applied: a step only runs on the
tables of the release before it, which a test keeps.
"""

import fcntl
from pathlib import Path

from playhouse.migrations import Runner

from portal import models
from portal.errors import BadSetting
from portal.models import append_only

HERE = Path(__file__).parent


def apply(lock: Path) -> list[str]:
    """Bring the tables up to date and return the steps. Of two processes at once, the second has nothing to do.

    Raises BadSetting, before anything is changed, for a database of a newer release, and for one that lacks a column
    which no step adds.
    """
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with models.connection():
            runner = _runner()
            _require_known(runner)
            steps = _apply(runner)
            append_only.create_triggers()
            _require_columns()
            return steps


def pending() -> list[str]:
    """Names of the steps that are not applied to this database. Raises BadSetting for one of a newer release."""
    with models.connection():
        runner = _runner()
        _require_known(runner)
        applied = runner.applied()
        return [step.name for step in runner.migrations() if step.name not in applied]


def _require_known(runner: Runner) -> None:
    """A recorded step that this release does not have is from a newer one, whose tables it would misread."""
    newer = sorted(set(runner.applied()) - {step.name for step in runner.migrations()})
    if newer:
        raise BadSetting(
            f"The database is from a newer release of Portico: this one does not know its step {newer[-1]}. Nothing was"
            " changed. Start the newer release, or restore an earlier backup of the data folder."
        )


def _apply(runner: Runner) -> list[str]:
    if runner.applied():
        return list(runner.up())
    with models.database.atomic():
        models.database.create_tables(models.TABLES)
        return list(runner.fake())


def _require_columns() -> None:
    """Otherwise each page that reads the table would fail separately, with a less helpful message."""
    for table in models.TABLES:
        existing = {column.name for column in models.database.get_columns(table._meta.table_name)}
        missing = [name for name in table._meta.columns if name not in existing]
        if missing:
            message = f"The database is from another version of Portico: {table._meta.table_name} has no {missing[0]}."
            raise BadSetting(f"{message} Start the version that created it, or choose another folder (PORTAL_DATA).")


def _runner() -> Runner:
    return Runner(models.database.obj, str(HERE))
