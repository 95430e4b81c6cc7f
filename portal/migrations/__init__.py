"""Numbered steps from one release's tables to the next; applied under a lock by `portal migrate` and at `portal up`."""

import fcntl
from pathlib import Path

from playhouse.migrations import Runner

from portal import models

HERE = Path(__file__).parent


def apply(lock: Path) -> list[str]:
    """Apply what is not applied yet, and return the names. Two processes at once: the second waits and has nothing to do."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with models.connection():
            names: list[str] = Runner(models.database.obj, str(HERE)).up()
    return names


def pending() -> list[str]:
    """Names of steps that this database has not seen."""
    with models.connection():
        runner = Runner(models.database.obj, str(HERE))
        applied = runner.applied()
        return [step.name for step in runner.migrations() if step.name not in applied]
