"""What keeps an item of a job from its end: something of its own, or of the other place as a whole."""

from portal.errors import NoSpace, NotAllowed, PortalError, Unreachable
from portal.jobs.item_row import Item
from portal.jobs.runs import Run
from portal.storage_drivers.store import ContainerMissing, ObjectLost

MAX_FAILURES_IN_A_ROW = 3
"""Failures one after the other that are taken for one of the place as a whole: the job waits, or fails."""
STORAGE_WIDE_ERRORS = NotAllowed, NoSpace, Unreachable
"""Errors that another object would meet too."""

Outcome = tuple[Item, PortalError | None]
"""An item as far as it got, and why it got no further."""


def note_error(item: Item, error: PortalError) -> Outcome:
    """The outcome of an item that met an error: it has failed, or waits; it waits where the place is missing."""
    item.message, item.attempts = error.message, item.attempts + 1
    item.permanent = error.permanent and not isinstance(error, ContainerMissing)
    if item.permanent:
        item.state = "failed"
    return item, error


class FailureStreak:
    """Those of one run, one after the other."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._in_a_row = 0

    def take(self, error: PortalError | None) -> None:
        """What became of the next item. Raises what the place as a whole answers.

        That is its own word that it is not there, or some errors in a row. The last run names each object that was
        not kept, so those do not end it.
        """
        if error is None:
            self._in_a_row = 0
            return
        self._in_a_row = self._in_a_row + 1 if isinstance(error, STORAGE_WIDE_ERRORS) or not error.permanent else 0
        of_all = self._in_a_row >= MAX_FAILURES_IN_A_ROW and not (self._run.is_last and isinstance(error, ObjectLost))
        if of_all or isinstance(error, ContainerMissing):
            raise error
