"""Numbered steps from one release's tables to the next; applied under a lock by `portal migrate` and at `portal up`.

An empty database gets the tables as the models have them, and every step is recorded as applied: a step is only ever
run on the tables of the release before it, which a test keeps.
"""

import fcntl
from pathlib import Path

from playhouse.migrations import Runner

from portal import models
from portal.errors import BadSetting

HERE = Path(__file__).parent


def apply(lock: Path) -> list[str]:
    """Bring the tables up to date and return the steps. Of two processes at once, the second has nothing to do.

    Raises BadSetting, before anything is changed, for a database of a newer release, and for one that lacks something
    which no step brings.
    """
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with models.connection():
            runner = _runner()
            _require_known(runner)
            steps = _apply(runner)
            _require_columns()
            return steps


def pending() -> list[str]:
    """Names of steps that this database has not seen. Raises BadSetting for a database of a newer release."""
    with models.connection():
        runner = _runner()
        _require_known(runner)
        applied = runner.applied()
        return [step.name for step in runner.migrations() if step.name not in applied]


def _require_known(runner: Runner) -> None:
    """A step that is recorded and not known here was made by a newer release, whose tables this one would misread."""
    newer = sorted(set(runner.applied()) - {step.name for step in runner.migrations()})
    if newer:
        raise BadSetting(
            f"The database is of a newer release of Portico: this one does not know its step {newer[-1]}. Nothing was"
            " changed. Start the newer release, or restore the data folder as it was before."
        )


def _apply(runner: Runner) -> list[str]:
    if runner.applied():
        return list(runner.up())
    with models.database.atomic():
        models.database.create_tables(models.TABLES)
        return list(runner.fake())


def _require_columns() -> None:
    """Else each page that reads the table would fail for itself, and say less."""
    for table in models.TABLES:
        there = {column.name for column in models.database.get_columns(table._meta.table_name)}
        lacking = [name for name in table._meta.columns if name not in there]
        if lacking:
            message = f"The database is of another version of Portico: {table._meta.table_name} has no {lacking[0]}."
            raise BadSetting(f"{message} Start the version that made it, or choose another folder (PORTAL_DATA).")


def _runner() -> Runner:
    return Runner(models.database.obj, str(HERE))
