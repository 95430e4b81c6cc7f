"""Parts of large uploads that a killed run left at a store: found by their names, and freed."""

import logging

from portal.errors import PortalError
from portal.export_walk import MANIFESTS
from portal.models import Job, JobItem, Storage
from portal.storage.destination import Destination

log = logging.getLogger(__name__)


def tidy(storage: Storage, destination: Destination) -> int:
    """Free what an export of ours left there a day ago or longer; other programs' uploads stay. Returns how many.

    What the store refuses is no failure: it costs room there, not content.
    """
    jobs = [job.id for job in Job.select().where(Job.kind == "export") if job.params.get("storage") == storage.id]

    def is_ours(key: str) -> bool:
        if key.startswith((f"{MANIFESTS}/", "portico-test-")):
            return True
        return bool(JobItem.select().where(JobItem.job.in_(jobs), JobItem.key == key).exists())

    try:
        return destination.tidy(is_ours)
    except PortalError as error:
        log.warning("leftovers at storage %d could not be freed: %s", storage.id, error)
        return 0
