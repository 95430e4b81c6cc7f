"""What is known of the objects that lie in a storage already, by what earlier exports have read back."""

from collections.abc import Sequence
from typing import Any

from portal.models import Job, JobItem

MAX_EARLIER_EXPORTS = 20
"""Exports to one storage that are remembered, the latest ones."""


class EarlierExports:
    """What the latest exports to one storage have verified there."""

    def __init__(self, storage_id: int) -> None:
        ours = (Job.storage == storage_id) & (Job.kind == "export") & (Job.done > 0)
        self._jobs = [
            row.id for row in Job.select(Job.id).where(ours).order_by(Job.id.desc()).limit(MAX_EARLIER_EXPORTS)
        ]

    def digests(self, keys: Sequence[str]) -> dict[str, str]:
        """Digest of each of some objects as it was read back last; those that we did not write are not among them."""
        if not self._jobs or not keys:
            return {}
        wanted = JobItem.job.in_(self._jobs), JobItem.key.in_(list(keys)), JobItem.state == "verified"
        rows: Any = JobItem.select(JobItem.key, JobItem.digest).where(*wanted).order_by(JobItem.job)
        return dict(rows.tuples())
