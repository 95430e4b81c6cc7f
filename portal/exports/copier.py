"""Copying the items of an export: sent, read back, compared; each row says how far it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import fn

from portal import runtime, segment_checks
from portal.archive import Reader
from portal.errors import BadValue, Damaged, PortalError
from portal.exports import plan, sidecars
from portal.jobs import item_runner
from portal.jobs.bandwidth import Bandwidth
from portal.jobs.item_failures import Outcome, note_error
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check, ProgressWriter
from portal.jobs.runs import Run
from portal.jobs.thread_pool import TASKS_PER_THREAD
from portal.models import Blob, File, Job, JobItem
from portal.models.compiled import is_one_of, raw_rows
from portal.storage_drivers.destination import KEY_HAS_OTHER_CONTENT, SOURCE_DAMAGED
from portal.storage_drivers.store import CHUNK_SIZE, Content, FileExtent

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

SMALL_OBJECT_BYTES = 8 << 20
"""Bytes of an object that is finished also when its run is to stop, so that the storage holds what the row says."""
FINISH_SECONDS = 10.0
"""Seconds that its end may take: a slower one is left."""
ARRIVED_STATES = ("verified", "stored", "warned")
"""States of an item that is done: read back from a storage; taken by a peer, and taken with a warning."""
_UNREADABLE = "The archive cannot be read: {}."


class Location(NamedTuple):
    """Where content lies in the archive."""

    segment: str
    offset: int
    size: int
    digest: str


class Task(NamedTuple):
    """One item, and where its bytes lie; None where the archive no longer has them. `text` is those of a sidecar."""

    item: Item
    place: Location | None
    text: bytes | None = None


def copy_items(run: Run, destination: "Destination", *, threads: int) -> None:
    """Send and verify each item that is not verified, some at once; a second run does only what is left.

    `threads` are those of the storage, which this run shares with others that work there.

    Raises what the storage as a whole answers. An item that fails for itself keeps its reason, and the others go on:
    if it may pass, the job comes back for it, and after its last attempt gives it up.
    """
    recount(run)
    sender = _Sender(run, destination)
    at_once = lambda: _at_once(run, destination, threads)  # noqa: E731
    bundles = _bundles(_tasks(run.job), sender.together)
    ahead = TASKS_PER_THREAD if sender.together == 1 else 1  # many at a time are in hand for long enough
    item_runner.run_items(
        run, bundles, sender.attempt, ProgressWriter(run, well=ARRIVED_STATES), at_once=at_once, ahead=ahead
    )
    settle(run)


def settle(run: Run) -> None:
    """Come back for what is left, by raising Unreachable; in the last run give it up.

    What is still to be done then, such as a manifest that names it, has attempts of its own.
    """
    given_up = item_runner.settle_unfinished(run, "could not be sent yet")
    recount(run)
    if given_up:
        run.write(attempts=1)


def _at_once(run: Run, destination: "Destination", threads: int) -> int:
    """How many objects go there at once now, and how many parts of the large ones."""
    share = run.share(threads)
    destination.limit_parts(share)
    return share


def _tasks(job: Job) -> Iterator[Task]:
    for page in item_runner.unfinished_pages(job):
        places = _places(page)
        texts = sidecars.contents([item.id for item in page]) if job.params.get("sidecars") else {}
        for item in page:
            yield Task(item=item, place=places.get(item.id), text=texts.get(item.id))


def _bundles(tasks: Iterator[Task], most: int) -> Iterator[list[Task]]:
    """Small objects go together, as many as are best delivered by one call; a large one goes by itself."""
    bundle: list[Task] = []
    size = 0
    for task in tasks:
        if bundle and (len(bundle) == most or size + task.item.size > SMALL_OBJECT_BYTES):
            yield bundle
            bundle, size = [], 0
        bundle.append(task)
        size += task.item.size
    if bundle:
        yield bundle


def _places(page: list[Item]) -> dict[int, Location]:
    """Where the bytes of items lie: where their files point to, since one content may have a damaged record too.

    A file that has other content by now, or is gone, leaves the newest record of the one that was listed.
    """
    columns = Blob.segment, Blob.offset, Blob.size, Blob.digest
    meant = is_one_of(File.id, [item.file_id for item in page if item.file_id])
    rows = raw_rows(File.select(File.id, *columns).join(Blob).where(meant))
    pointed = {row[0]: Location._make(row[1:]) for row in rows}
    found = {item.id: pointed[item.file_id] for item in page if _is_of(pointed.get(item.file_id), item)}
    if left := [item for item in page if item.id not in found]:
        records = Blob.select(*columns).where(Blob.digest.in_(list({item.digest for item in left}))).order_by(Blob.id)
        newest = {(place.digest, place.size): place for place in (Location(*row) for row in raw_rows(records))}
        found |= {item.id: newest[item.digest, item.size] for item in left if (item.digest, item.size) in newest}
    return found


def _is_of(place: Location | None, item: Item) -> bool:
    return place is not None and (place.digest, place.size) == (item.digest, item.size)


class _Sender:
    """Brings one bundle of items after the other to the storage; used by several threads at once."""

    def __init__(self, run: Run, destination: "Destination") -> None:
        self._destination = destination
        self._existing = run.job.params.get("existing", "never")
        self._is_empty = run.job.attempts == 1 and not run.job.done and _is_empty(run.job, destination)
        self._rate = rate = run.job.params.get("bandwidth", 0)
        self._sending, self._reading = Bandwidth(rate), Bandwidth(rate)  # a line has room in each direction
        self.together = 1 if rate else destination.batch_size

    def attempt(self, bundle: Sequence[Task], check: Check) -> list[Outcome]:
        """Bring some items as far as they get; each says how far: pending → sent → verified."""
        outcomes: list[Outcome] = []
        missing: list[Task] = []
        for task in bundle:
            try:
                if self._is_there(task.item, check):
                    outcomes.append(_arrived(task.item))
                else:
                    missing.append(task)
            except PortalError as error:
                outcomes.append(note_error(task.item, error))
        with runtime.archive().reader() as reader:
            contents = [self._content(task, check, reader) for task in missing]
            errors = self._destination.deliver(contents, overwrite=self._existing != "never")
        for task, content, found in zip(missing, contents, errors, strict=True):
            task.item.state = "sent" if content.sent else task.item.state
            if found and found.message == SOURCE_DAMAGED and task.place:
                segment_checks.record_damage(task.place.segment)
            outcomes.append(note_error(task.item, found) if found else _arrived(task.item))
        return outcomes

    def _is_there(self, item: Item, check: Check) -> bool:
        """What is there with the same content is ours: a run may have been killed. Raises BadValue for what is not."""
        there = None if self._is_empty else self._destination.stat(item.key)
        if there is None:
            return False
        if self._existing != "always" and self._is_whole(item, there.size, check):
            return True
        if self._existing == "never":
            raise BadValue(KEY_HAS_OTHER_CONTENT)
        return False

    def _content(self, task: Task, check: Check, reader: Reader) -> Content:
        item = task.item
        return Content(
            key=item.key,
            size=item.size,
            digest=item.digest,
            chunks=lambda: self._chunks(task, check, reader),
            source=_source(task, reader),
            on_read=self._came(item.size, check),
        )

    def _is_whole(self, item: Item, size: int, check: Check) -> bool:
        """Whether the storage gives back the item's bytes. Raises Missing."""
        held, came = self._destination.holds, self._came(item.size, check)
        return size == item.size and held(item.key, size=size, digest=item.digest, on_read=came)

    def _came(self, size: int, check: Check) -> Callable[[int], None]:
        leave = check if self._is_long(size) else _go_on

        def came(length: int) -> None:
            leave()
            self._reading.wait(length, leave)

        return came

    def _chunks(self, task: Task, check: Check, reader: Reader) -> Iterable[bytes]:
        """The item's bytes, as they were when the export was started. Raises Damaged."""
        if task.text is not None:
            return (task.text,)
        if task.place is None:
            raise Damaged("The archive no longer has the bytes of this object.")
        piece = self._sending.piece(CHUNK_SIZE)
        if task.place.size > piece:
            return self._pieces(task.place, piece, check)
        self._sending.wait(task.place.size, check)
        try:
            return (reader.read(task.place.segment, task.place.offset, task.place.size),)
        except OSError as error:
            raise Damaged(_UNREADABLE.format(error.strerror)) from error

    def _pieces(self, place: Location, piece: int, check: Check) -> Iterator[bytes]:
        with runtime.archive().open(place.segment, place.offset, place.size) as content:
            while True:
                if self._is_long(place.size):
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
        return size > SMALL_OBJECT_BYTES or size > FINISH_SECONDS * (self._rate or size)


def _source(task: Task, reader: Reader) -> bytes | FileExtent | None:
    """The item's bytes for another process, where they are on this disk."""
    if task.text is not None or task.place is None:
        return task.text
    file = reader.file(task.place.segment)
    return FileExtent(file, task.place.offset) if file else None


def _arrived(item: Item) -> Outcome:
    item.state, item.message, item.permanent = "verified", "", False
    return item, None


def _go_on() -> None:
    """What takes but a moment is brought to its end."""


def _is_empty(job: Job, destination: "Destination") -> bool:
    """Whether nothing lies there yet, so that no object needs a look before it is sent: that is one request of three.

    What appears meanwhile is not written over all the same.
    """
    if job.params.get("existing", "never") != "never":
        return False
    try:
        return next(iter(destination.list(plan.common_key_prefix(job))), None) is None
    except PortalError as error:
        if error.permanent:
            return False  # each object will tell by itself
        raise


def recount(run: Run) -> None:
    """Set the counts by the rows, which a retry changed."""
    rows = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == run.job)
    grouped: Any = rows.group_by(JobItem.state).tuples()
    counts = {state: (number, size) for state, number, size in grouped}
    arrived = [counts[state] for state in ARRIVED_STATES if state in counts]
    done, size = sum(number for number, _size in arrived), sum(size for _number, size in arrived)
    failed, _size = counts.get("failed", (0, 0))
    run.write(done=done, failed=failed, bytes=size)
