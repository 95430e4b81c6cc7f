"""Parts of large uploads that a killed run left at a store: found by their names, and freed."""

import itertools
import logging
from collections.abc import Callable
from datetime import timedelta

from portal.errors import PortalError
from portal.jobs.progress import ACTIVE_STATES
from portal.models import Job, JobItem, Storage
from portal.storage_drivers.destination import Destination
from portal.tree.folders import MANIFESTS_FOLDER

log = logging.getLogger(__name__)
ANY_AGE = timedelta(days=-1)
"""The clock of the store may be ahead of ours."""
MAX_COUNTED = 1000
"""Unfinished uploads that are counted."""


def abort_abandoned(storage: Storage, destination: Destination) -> dict[str, int]:
    """Free what an export of ours left there a day ago or longer; other programs' uploads stay.

    Returns how many were `freed` and how many are `left` (those of a running export too); nothing where the store
    refuses: that is no failure, it costs room there, not content.
    """
    jobs = [job.id for job in Job.select(Job.id).where(Job.storage == storage.id, Job.kind == "export")]

    def is_ours(key: str) -> bool:
        if key.startswith((f"{MANIFESTS_FOLDER}/", "portico-test-")):
            return True
        return bool(JobItem.select().where(JobItem.job.in_(jobs), JobItem.key == key).exists())

    freed, left = _free(storage, destination, is_ours), _left(destination)
    return {} if left is None else {"freed": freed, "left": left}


def abort_of_job(job: Job, storage: Storage, destination: Destination) -> int:
    """Free what an earlier run of this export left in the middle of an object; others that run now keep theirs."""
    running = [other.id for other in Job.select().where(Job.state.in_(ACTIVE_STATES), Job.id != job.id)]
    rows = JobItem.select(JobItem.id)

    def is_ours(key: str) -> bool:
        named = rows.where(JobItem.job == job, JobItem.key == key, JobItem.state.in_(("pending", "sent"))).exists()
        return bool(named and not rows.where(JobItem.job.in_(running), JobItem.key == key).exists())

    return _free(storage, destination, is_ours, older=ANY_AGE)


def _free(storage: Storage, destination: Destination, is_ours: Callable[[str], bool], **age: timedelta) -> int:
    try:
        return destination.tidy(is_ours, **age)
    except PortalError as error:
        log.warning("leftovers at storage %d could not be freed: %s", storage.id, error)
        return 0


def _left(destination: Destination) -> int | None:
    """How many unfinished uploads there are; None where the store does not tell."""
    try:
        return sum(1 for _upload in itertools.islice(destination.leftovers(ANY_AGE), MAX_COUNTED))
    except PortalError:
        return None
