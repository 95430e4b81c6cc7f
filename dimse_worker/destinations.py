"""Where a job's objects go: the storage, or later the peer, that its row names."""

from portal.models import Job
from portal.storage import storages
from portal.storage.destination import Destination


def open_for(job: Job) -> Destination:
    """The destination of a job, ready for use. Raises Missing or BadValue where it is gone or no longer allowed."""
    return storages.open(storages.by_id(job.params["storage"]))
