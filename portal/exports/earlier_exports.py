"""What is known of the objects in a storage already, by what earlier exports have read back."""

from collections.abc import Sequence
from typing import Any

from portal.models import Job, JobItem

MAX_EARLIER_EXPORTS = 20
"""Exports to one storage that are looked at, the latest ones."""


class EarlierExports:
    """What the latest exports to one storage have verified there."""

    def __init__(self, storage_id: int) -> None:
        to_storage = (Job.storage == storage_id) & (Job.kind == "export") & (Job.done > 0)
        rows = Job.select(Job.id).where(to_storage).order_by(Job.id.desc()).limit(MAX_EARLIER_EXPORTS)
        self._jobs = [row.id for row in rows]

    def digests(self, keys: Sequence[str]) -> dict[str, str]:
        """The digest of each object as it was last read back; objects that no export of ours wrote are left out."""
        if not self._jobs or not keys:
            return {}
        wanted = JobItem.job.in_(self._jobs), JobItem.key.in_(list(keys)), JobItem.state == "verified"
        rows: Any = JobItem.select(JobItem.key, JobItem.digest).where(*wanted).order_by(JobItem.job)
        return dict(rows.tuples())
