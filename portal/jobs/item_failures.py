"""Why an item of a job is not done: an error of its own, or one of the storage as a whole."""

from portal.errors import NoSpace, NotAllowed, PortalError, Unreachable
from portal.jobs.item_row import Item
from portal.jobs.runs import Run
from portal.storage_drivers.store import ContainerMissing, ObjectLost

MAX_FAILURES_IN_A_ROW = 3
"""After as many failures one after the other the storage or peer as a whole is at fault: the job waits, or fails."""
STORAGE_WIDE_ERRORS = NotAllowed, NoSpace, Unreachable
"""Errors that another object would meet too."""

Outcome = tuple[Item, PortalError | None]
"""An item after an attempt, and the error that it met."""


def note_error(item: Item, error: PortalError) -> Outcome:
    """The outcome of an item that met an error: failed, or waiting; where the container is missing it waits."""
    item.message, item.attempts = error.message, item.attempts + 1
    item.permanent = error.permanent and not isinstance(error, ContainerMissing)
    if item.permanent:
        item.state = "failed"
    return item, error


class FailureStreak:
    """The failures of one run, one after the other."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._in_a_row = 0

    def record(self, error: PortalError | None) -> None:
        """Count the error of the next item, or None. Raises it where the storage as a whole is at fault.

        That is so where the container is missing, or after some errors in a row. In the last run of a job an object
        that the storage did not keep does not end the run, so that each such object gets its message.
        """
        if error is None:
            self._in_a_row = 0
            return
        self._in_a_row = self._in_a_row + 1 if isinstance(error, STORAGE_WIDE_ERRORS) or not error.permanent else 0
        is_streak = self._in_a_row >= MAX_FAILURES_IN_A_ROW and not (
            self._run.is_last and isinstance(error, ObjectLost)
        )
        if is_streak or isinstance(error, ContainerMissing):
            raise error
