"""Parts of large uploads that a killed run left at a store: recognised by their names, and aborted."""

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
    """Abort uploads of our exports that are a day old or more; other programs' uploads are not touched.

    Returns how many were `freed` and how many are `left` (those of a running export too); nothing where the store
    refuses, which is no failure: unfinished uploads cost space there, not content.
    """
    jobs = [job.id for job in Job.select(Job.id).where(Job.storage == storage.id, Job.kind == "export")]

    def is_ours(key: str) -> bool:
        if key.startswith((f"{MANIFESTS_FOLDER}/", "portico-test-")):
            return True
        return bool(JobItem.select().where(JobItem.job.in_(jobs), JobItem.key == key).exists())

    freed = _abort(storage, destination, is_ours)
    try:
        left = sum(1 for _upload in itertools.islice(destination.unfinished_uploads(ANY_AGE), MAX_COUNTED))
    except PortalError:
        return {}
    return {"freed": freed, "left": left}


def abort_of_job(job: Job, storage: Storage, destination: Destination) -> int:
    """Abort what an earlier run of this export left unfinished, unless another running export uses the same key."""
    running = [other.id for other in Job.select().where(Job.state.in_(ACTIVE_STATES), Job.id != job.id)]
    items = JobItem.select(JobItem.id)

    def is_ours(key: str) -> bool:
        named = items.where(JobItem.job == job, JobItem.key == key, JobItem.state.in_(("pending", "sent"))).exists()
        return bool(named and not items.where(JobItem.job.in_(running), JobItem.key == key).exists())

    return _abort(storage, destination, is_ours, older=ANY_AGE)


def _abort(storage: Storage, destination: Destination, is_ours: Callable[[str], bool], **age: timedelta) -> int:
    try:
        return destination.abort_unfinished(is_ours, **age)
    except PortalError as error:
        log.warning("unfinished uploads at storage %d could not be aborted: %s", storage.id, error)
        return 0
