"""Copying the items of an export: sent, read back, compared; each row says how far it is."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from portal import runtime, segment_checks
from portal.archive import Reader
from portal.errors import BadValue, Damaged, PortalError
from portal.exports import copy_tasks, plan
from portal.exports.copy_tasks import SMALL_OBJECT_BYTES, Location, Task
from portal.exports.params import ExportParams
from portal.jobs import item_runner
from portal.jobs.bandwidth import Bandwidth
from portal.jobs.item_failures import Outcome, note_error
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check
from portal.jobs.runs import Run
from portal.jobs.thread_pool import TASKS_PER_THREAD
from portal.models import Job
from portal.storage_drivers.destination import KEY_HAS_OTHER_CONTENT, SOURCE_DAMAGED
from portal.storage_drivers.store import CHUNK_SIZE, Content, FileExtent

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

FINISH_SECONDS = 10.0
"""Seconds in which an object is finished even though its run is to stop; one that takes longer is left."""
_UNREADABLE = "The archive cannot be read: {}."


def copy_items(run: Run, params: ExportParams, destination: "Destination", *, threads: int) -> str:
    """Send and verify each unfinished item, several at once; returns why the first failed item failed, or nothing.

    `threads` are those of the storage, which this run shares with others that work on it.

    Raises the errors of the storage as a whole. An item with an error of its own keeps its message, and the others go
    on: if it may succeed later, the job comes back for it, and after its last attempt the item has failed.
    """
    copier = _Copier(run.job, params, destination)

    def share_threads() -> int:
        """How many objects are sent at once now, and how many parts of the large ones."""
        share = run.share(threads)
        destination.limit_parts(share)
        return share

    given_up = item_runner.run_items(
        run,
        copy_tasks.batches(run.job, copier.objects_per_call, has_sidecars=params.sidecars),
        copier.copy,
        done_states=("verified",),
        threads=share_threads,
        # A batch is work enough for its thread: no second one waits for it.
        tasks_per_thread=TASKS_PER_THREAD if copier.objects_per_call == 1 else 1,
        unfinished="could not be sent yet",
    )
    if given_up:
        run.write(attempts=1)  # what follows, such as a manifest that lists the failed items, has attempts of its own
    return item_runner.first_reason(run.job, ("failed",))


class _Copier:
    """Copies batches of items to the storage; several threads use it at once."""

    def __init__(self, job: Job, params: ExportParams, destination: "Destination") -> None:
        self._params = params
        self._destination = destination
        is_new = job.attempts == 1 and not job.done and self._params.existing == "never"
        self._is_empty = is_new and _is_empty(job, destination)
        rate = self._params.bandwidth
        # A line has room in each direction.
        self._sending, self._reading = Bandwidth(rate), Bandwidth(rate)
        self.objects_per_call = 1 if rate else destination.batch_size

    def copy(self, tasks: Sequence[Task], check: Check) -> list[Outcome]:
        """Bring some items as far as they get; each says how far: pending → sent → verified."""
        outcomes: list[Outcome] = []
        missing: list[Task] = []
        for task in tasks:
            try:
                if self._is_stored(task.item, check):
                    outcomes.append(_verified(task.item))
                else:
                    missing.append(task)
            except PortalError as error:
                outcomes.append(note_error(task.item, error))
        with runtime.archive().reader() as reader:
            contents = []
            for task in missing:
                source: bytes | FileExtent | None = task.sidecar
                if task.sidecar is None and task.location is not None:
                    # For another process, where the bytes are on this disk.
                    file = reader.file(task.location.segment)
                    source = FileExtent(file, task.location.offset) if file else None
                content = Content(
                    key=task.item.key,
                    size=task.item.size,
                    digest=task.item.digest,
                    chunks=functools.partial(self._chunks, task, check, reader),
                    source=source,
                    on_read=self._on_read(task.item.size, check),
                )
                contents.append(content)
            failures = self._destination.deliver(contents, overwrite=self._params.existing != "never")
        for task, content, failure in zip(missing, contents, failures, strict=True):
            task.item.state = "sent" if content.sent else task.item.state
            if failure and failure.message == SOURCE_DAMAGED and task.location:
                segment_checks.record_damage(task.location.segment)
            outcomes.append(note_error(task.item, failure) if failure else _verified(task.item))
        return outcomes

    def _is_stored(self, item: Item, check: Check) -> bool:
        """Whether the storage has the item's bytes under its key; a killed run may have sent them.

        Raises BadValue for other content that may not be written over.
        """
        stat = None if self._is_empty else self._destination.stat(item.key)
        if stat is None:
            return False
        if self._params.existing != "always" and stat.size == item.size:
            on_read = self._on_read(item.size, check)
            if self._destination.holds(item.key, size=item.size, digest=item.digest, on_read=on_read):
                return True
        if self._params.existing == "never":
            raise BadValue(KEY_HAS_OTHER_CONTENT)
        return False

    def _on_read(self, size: int, check: Check) -> Callable[[int], None]:
        """What is called with the length of each piece that is read back."""
        check_if_long: Check = check if self._is_long(size) else lambda: None

        def on_read(length: int) -> None:
            check_if_long()
            self._reading.wait(length, check_if_long)

        return on_read

    def _chunks(self, task: Task, check: Check, reader: Reader) -> Iterable[bytes]:
        """The item's bytes, as they were when the export was started. Raises Damaged."""
        if task.sidecar is not None:
            return (task.sidecar,)
        location = task.location
        if location is None:
            raise Damaged("The archive no longer has the bytes of this object.")
        piece = self._sending.piece_size(CHUNK_SIZE)
        if location.size > piece:
            return self._pieces(location, piece, check)
        self._sending.wait(location.size, check)
        try:
            return (reader.read(location.segment, location.offset, location.size),)
        except OSError as error:
            raise Damaged(_UNREADABLE.format(error.strerror)) from error

    def _pieces(self, location: Location, piece: int, check: Check) -> Iterator[bytes]:
        with runtime.archive().open(location.segment, location.offset, location.size) as content:
            while True:
                if self._is_long(location.size):
                    check()
                try:
                    chunk = content.read(piece)
                except OSError as error:
                    raise Damaged(_UNREADABLE.format(error.strerror)) from error
                if not chunk:
                    return
                self._sending.wait(len(chunk), check)
                yield chunk

    def _is_long(self, size: int) -> bool:
        """Whether an object is left in the middle where its run is to stop.

        A short one is finished, so that the storage holds what the row says.
        """
        return size > SMALL_OBJECT_BYTES or size > FINISH_SECONDS * (self._params.bandwidth or size)


def _verified(item: Item) -> Outcome:
    item.state, item.message, item.permanent = "verified", "", False
    return item, None


def _is_empty(job: Job, destination: "Destination") -> bool:
    """Whether nothing there has the common prefix of the keys, so that no object is looked for before it is sent.

    That saves one request of three. Objects that appear meanwhile are not written over all the same.
    """
    try:
        return next(iter(destination.list(plan.common_key_prefix(job))), None) is None
    except PortalError as error:
        if error.permanent:
            return False  # each object will get its own error
        raise
