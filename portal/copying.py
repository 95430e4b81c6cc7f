"""Copying the items of an export: sent, read back, compared; each row says how far it is."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal import runtime
from portal.errors import BadValue, Damaged, PortalError, Taken, Unreachable
from portal.models import Blob, Job, JobItem, writing
from portal.runs import Run

if TYPE_CHECKING:
    from portal.storage.destination import Destination

CHUNK = 1 << 20
PAGE = 200
FLUSH_ITEMS = 50
FLUSH_SECONDS = 0.5
IN_A_ROW = 3
"""Temporary failures one after the other that are taken for one of the storage as a whole: the job waits."""


def send(run: Run, destination: "Destination") -> None:
    """Send and verify each item that is not verified; a second run does only what is left.

    Raises what the storage as a whole answers. An item that fails for itself keeps its reason, and the others go on:
    if it may pass, the job comes back for it, and after its last attempt gives it up.
    """
    _count(run)
    _each(run, destination)
    left = (JobItem.job == run.job) & JobItem.state.in_(("pending", "sent"))
    number = JobItem.select().where(left).count()
    if number and not run.is_last:
        raise Unreachable(f"{number:,} of {run.job.total:,} could not be sent yet. {example(run.job, 'pending')}")
    with writing():
        JobItem.update(state="failed").where(left).execute()
    _count(run)


def example(job: Job, state: str = "failed") -> str:
    """The first item's reason, for the sentence of the whole."""
    item = JobItem.select().where(JobItem.job == job, JobItem.state == state, JobItem.sentence != "").first()
    return f"{item.key}: {item.sentence}" if item is not None else ""


def _each(run: Run, destination: "Destination") -> None:
    tally = _Tally(run)
    in_a_row = 0
    try:
        for item in _open_items(run.job):
            run.check()
            error = _attempt(run, destination, item)
            tally.add(item)
            in_a_row = in_a_row + 1 if error else 0
            if error and in_a_row == IN_A_ROW:
                raise error
    finally:
        tally.flush()


class _Tally:
    """What has become of items and is not written yet: rows change some at a time, and with them the job's counts."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._verified: list[JobItem] = []
        self._others: list[JobItem] = []
        self._since = time.monotonic()

    def add(self, item: JobItem) -> None:
        (self._verified if item.state == "verified" else self._others).append(item)
        if len(self._verified) + len(self._others) >= FLUSH_ITEMS or time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        job = self._run.job
        with writing():
            ids = [item.id for item in self._verified]
            JobItem.update(state="verified", sentence="", permanent=False).where(JobItem.id.in_(ids)).execute()
            for item in self._others:
                item.save(only=[JobItem.state, JobItem.sentence, JobItem.permanent, JobItem.attempts])
            self._run.write_within(
                done=job.done + len(ids),
                failed=job.failed + sum(item.state == "failed" for item in self._others),
                bytes=job.bytes + sum(item.size for item in self._verified),
            )
        self._verified, self._others, self._since = [], [], time.monotonic()


def _open_items(job: Job) -> Iterator[JobItem]:
    after = 0
    while True:
        waiting = JobItem.state.in_(("pending", "sent"))
        rows = JobItem.select().where(JobItem.job == job, waiting, JobItem.id > after).order_by(JobItem.id).limit(PAGE)
        page = list(rows)
        if not page:
            return
        yield from page
        after = page[-1].id


def _attempt(run: Run, destination: "Destination", item: JobItem) -> PortalError | None:
    """Bring one item as far as it gets; the item says how far. Returns an error that may pass by itself."""
    try:
        _bring(run, destination, item)
    except PortalError as error:
        item.sentence, item.permanent = error.sentence, error.permanent
        item.attempts += 1
        if error.permanent:
            item.state = "failed"
        return None if error.permanent else error
    item.state = "verified"
    return None


def _bring(run: Run, destination: "Destination", item: JobItem) -> None:
    """pending → sent → verified. What is there already with the same content is ours: a run may have been killed."""
    there = destination.stat(item.key)
    if there is None:
        try:
            destination.put(item.key, _content(run, item), size=item.size, digest=item.digest)
        except Taken:
            there = destination.stat(item.key)
        else:
            item.state = "sent"
    if there is not None and there.size != item.size:
        raise BadValue(_other_content(item))
    if destination.digest(item.key) != (item.size, item.digest):
        raise BadValue(_other_content(item))


def _other_content(item: JobItem) -> str:
    if item.state == "sent":
        return "The storage gives back other bytes than were sent. Check it, and do not rely on what lies there."
    return "Other content lies under this key; it was left as it is. Move it away, or export under another prefix."


def _content(run: Run, item: JobItem) -> Iterator[bytes]:
    """The item's bytes, as they were when the export was started. Raises Damaged."""
    blob = Blob.get_or_none(Blob.digest == item.digest, Blob.size == item.size)
    if blob is None:
        raise Damaged("The archive no longer has the bytes of this object.")
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        while True:
            run.check()
            try:
                chunk = content.read(CHUNK)
            except OSError as error:
                raise Damaged(f"The archive cannot be read: {error.strerror}.") from error
            if not chunk:
                return
            yield chunk


def _count(run: Run) -> None:
    """Set the counts by the rows, which a retry changed."""
    rows = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == run.job)
    grouped: Any = rows.group_by(JobItem.state).tuples()
    counts = {state: (number, size) for state, number, size in grouped}
    done, size = counts.get("verified", (0, 0))
    failed, _size = counts.get("failed", (0, 0))
    run.write(done=done, failed=failed, bytes=size)
