"""What an attempt leaves of an item: done, failed, or waiting with the error that it met."""

from portal.errors import PortalError
from portal.jobs.item_row import Item
from portal.storage_drivers.store import ContainerMissing

MAX_FAILURES_IN_A_ROW = 3
"""After as many failures one after the other the storage or peer as a whole is at fault: the job waits, or fails."""
Outcome = tuple[Item, PortalError | None]
"""An item after an attempt, and its error."""


def note_error(item: Item, error: PortalError) -> Outcome:
    """The outcome of an item that met an error: failed, or waiting; where the container is missing it waits."""
    item.message, item.attempts = error.message, item.attempts + 1
    item.permanent = error.permanent and not isinstance(error, ContainerMissing)
    if item.permanent:
        item.state = "failed"
    return item, error
