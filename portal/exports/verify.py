"""Verifications: an ended export is read back and compared with its manifest; nothing is written there.

The export's own folder is the deepest one that holds all of its objects; if there is none, the first folder of each
object. What is in there, but in no export of this site to this storage, was added by somebody else.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal.access import audit
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, PortalError
from portal.exports import exports, plan
from portal.exports.manifest_reader import ManifestReader
from portal.exports.params import ExportParams, VerificationParams
from portal.exports.results import DryRunResult, ManifestRecord
from portal.jobs import item_failures, item_row, item_runner, jobs
from portal.jobs.item_failures import Outcome
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check
from portal.jobs.records import JobResult
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, Storage, batched_writes, writing
from portal.models.compiled import raw_rows
from portal.storage import connection_test, storages
from portal.tree.batches import batched

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination, Stat

ITEMS_PER_PAGE = 200
MAX_SHOWN = 10
"""Verifications of one export that its page shows."""
DIFFERENCE_STATES = ("changed", "missing", "added")
OK_STATES, BAD_STATES = ("ok",), (*DIFFERENCE_STATES, "failed")
STATE_TEXTS = {"changed": "changed", "missing": "missing", "added": "added by somebody else", "failed": "not readable"}
CHANGED = "It has other bytes than those that were sent and verified."
MISSING = "It is no longer there."
ADDED = "No export of this site to this storage wrote it."
UNSIGNED = "It does not have this site's signature."
PlannedItem = tuple[str, int, str]
"""Key, size and digest."""


def start(export_id: int, *, actor: Actor) -> Job:
    """Verify an export later on. Raises Missing, NotAllowed, or BadValue where it has no manifest yet."""
    jobs.get_own(export_id, actor=actor)
    export = exports.get(export_id)
    if export.kind != "export" or not ManifestRecord.load(export.result).sha256:
        raise BadValue(f"Export {export_id} has no manifest, so there is nothing to compare with. Run it to its end.")
    exported = ExportParams.load(export.params)
    params = VerificationParams(
        export_id=export.id, path=exported.path, storage_id=exported.storage_id, to=exported.to
    ).dump()
    with writing():
        storages.by_id(exported.storage_id)
        job = jobs.create("verification", actor=actor, params=params, what=export.what, total=export.done + 1)
        job.parent = export.id
        job.save()
        audit.record(actor, "export:verified", "job", job.id, export=export.id, storage=exported.to)
    jobs.enqueue(job)
    return job


def for_export(export_id: int) -> Sequence[Job]:
    """The verifications of an export, the latest first."""
    rows = Job.select().where(Job.parent == export_id, Job.kind == "verification")
    return list(rows.order_by(Job.id.desc()).limit(MAX_SHOWN))


def view(job: Job) -> dict[str, Any]:
    """The verification for pages and `--json`: how many objects are ok, changed, missing or added."""
    params, found = VerificationParams.load(job.params), DryRunResult.load(job.result)
    counts = {state: found.count(state) for state in (*OK_STATES, *BAD_STATES)}
    return {**jobs.view(job), "project": params.path, "storage": params.to, "export": params.export_id, **counts}


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Compare the remaining items; those that differed before are compared again."""
    params = VerificationParams.load(this.job.params)
    export = jobs.get(params.export_id)
    storage = storages.by_id(params.storage_id)
    connection_test.require_reachable(destination)
    verification = _Verification(this, export, storage, destination)
    if not JobResult.load(this.job.result).is_planned:
        verification.plan()
    verification.reopen_differences()
    verification.compare_items()
    verification.find_added()
    found = item_row.sum_by_state(this.job)

    number = this.job.total - 1
    objects = exports.objects_in_words(number)
    if found.keys().isdisjoint(BAD_STATES):
        verb = "is" if number == 1 else "are"
        message = f"{objects} {verb} as sent, and so is the manifest; nothing was added."
        return RunEnd(message=message, result={"found": found})
    differences = ", ".join(f"{found[state][0]:,} {STATE_TEXTS[state]}" for state in BAD_STATES if state in found)
    reason = item_runner.first_reason(this.job, BAD_STATES)
    message = f"Of {objects} and the manifest: {differences}. {reason}"
    return RunEnd(state="errors", message=message, result={"found": found})


class _Verification:
    """One run of it."""

    def __init__(self, run: Run, export: Job, storage: Storage, destination: "Destination") -> None:
        self._run = run
        self._export = export
        self._manifest = ManifestRecord.load(export.result)
        self._storage = storage
        self._destination = destination

    def plan(self) -> None:
        """Write what is to be compared: the manifest itself, and the objects that it lists."""
        plan.delete_items(self._run)
        job_id = self._run.job.id
        rows = ((job_id, None, *planned, "pending", "", False, 0) for planned in self._planned_items())
        message = "Listing what was sent."
        item_runner.add_items(self._run, rows, progress=lambda number: {"total": number, "message": message})
        size = sum(size for _number, size in item_row.sum_by_state(self._run.job).values())
        self._run.write(result={**self._run.job.result, "planned": True, "bytes": size}, message="")

    def _planned_items(self) -> Iterator[PlannedItem]:
        """By the manifest if it is the one that was written, else by the items of the export."""
        yield self._manifest.name, self._manifest.size, self._manifest.sha256 or ""
        if not self._manifest_error(self._run.check):
            prefix = f"{self._storage.prefix}/" if self._storage.prefix else ""
            for entry in self._manifest_reader(self._run.check).entries():
                yield entry["key"].removeprefix(prefix), entry["size"], entry["sha256"]
            return
        if self._export.items_kept != "all":
            raise BadValue(
                "The manifest is missing or changed, and this site's own list was deleted because of its age."
            )
        verified = JobItem.select(JobItem.id, JobItem.key, JobItem.size, JobItem.digest)
        verified = verified.where(JobItem.job == self._export, JobItem.state == "verified")
        page = verified.order_by(JobItem.id).limit(ITEMS_PER_PAGE)
        after = 0
        while rows := raw_rows(page.where(JobItem.id > after)):
            after = rows[-1][0]
            yield from (row[1:] for row in rows)

    def _manifest_reader(self, check: Check) -> ManifestReader:
        def chunks() -> Iterator[bytes]:
            for chunk in self._destination.read(self._manifest.name):
                check()
                yield chunk

        return ManifestReader(chunks())

    def _manifest_error(self, check: Check) -> str:
        """Why the manifest is not the one that was written; empty where it is."""
        reader = self._manifest_reader(check)
        try:
            reader.check()
        except Missing:
            return MISSING
        except BadValue:
            return CHANGED
        if (reader.size, reader.digest) != (self._manifest.size, self._manifest.sha256):
            return CHANGED
        return "" if reader.is_ours else UNSIGNED

    def reopen_differences(self) -> None:
        """Have what differed in an earlier run compared again, and what was added looked for again."""
        mine = JobItem.job == self._run.job
        batched_writes.delete(JobItem, mine & (JobItem.state == "added"), check=self._run.check)
        differed = mine & JobItem.state.in_(("changed", "missing"))
        batched_writes.update(JobItem, differed, state="pending", message="", check=self._run.check)

    def compare_items(self) -> None:
        tasks = (item for page in item_row.unfinished_pages(self._run.job) for item in page)
        threads = storages.threads(self._storage)
        item_runner.run_items(
            self._run,
            tasks,
            self._compare,
            done_states=OK_STATES,
            failed_states=BAD_STATES,
            threads=lambda: self._run.share(threads),
            unfinished="are left",
        )

    def _compare(self, item: Item, check: Check) -> list[Outcome]:
        try:
            if item.key == self._manifest.name:
                item.message = self._manifest_error(check)
                item.state = "missing" if item.message == MISSING else "changed" if item.message else "ok"
                return [(item, None)]
            stat = self._destination.stat(item.key)
            if stat is None:
                item.state, item.message = "missing", MISSING
            elif stat.size != item.size:
                item.state, item.message = "changed", f"It has {stat.size:,} bytes, and had {item.size:,}."
            else:
                try:
                    is_same = self._destination.digest(item.key, check) == (item.size, item.digest)
                    item.state, item.message = ("ok", "") if is_same else ("changed", CHANGED)
                except Missing:
                    item.state, item.message = "missing", MISSING
        except PortalError as error:
            return [item_failures.note_error(item, error)]
        return [(item, None)]

    def find_added(self) -> None:
        """Write an item for each object that was added."""
        self._run.write(message="Looking for added objects.")
        # The deepest folder that holds every object; if there is none, the first folder of each.
        objects = JobItem.select().where(JobItem.job == self._run.job, JobItem.key != self._manifest.name)
        first, last = objects.select(fn.MIN(JobItem.key), fn.MAX(JobItem.key)).tuples()[0]
        folder = plan.common_prefix(first or "", last or "").rpartition("/")[0]
        folder = f"{folder}/" if folder else ""
        first_folder = fn.SUBSTR(JobItem.key, 1, fn.INSTR(JobItem.key, "/"))
        rows: Any = () if folder else objects.select(first_folder).distinct().tuples()
        first_folders = {row[0] for row in rows}

        other_exports: list[int] | None = None
        for page in batched(self._destination.list(folder), ITEMS_PER_PAGE):
            self._run.check()
            own = [stat for stat in page if folder or stat.key[: stat.key.find("/") + 1] in first_folders]
            unknown = self._not_in_jobs(own, [self._run.job.id])
            if unknown and other_exports is None:
                to_storage = (Job.storage == self._storage.id) & (Job.kind == "export")
                other_exports = [row[0] for row in raw_rows(Job.select(Job.id).where(to_storage))]
            for ids in batched(other_exports or (), ITEMS_PER_PAGE):
                unknown = self._not_in_jobs(unknown, ids)
            if not unknown:
                continue
            job_id = self._run.job.id
            added = [(job_id, None, _text(stat.key), stat.size, "", "added", ADDED, False, 0) for stat in unknown]
            with writing():
                JobItem.add(added)
                self._run.write_within(failed=self._run.job.failed + len(added))
        self._run.write(message="")

    def _not_in_jobs(self, stats: Sequence["Stat"], job_ids: list[int]) -> list["Stat"]:
        """The objects that none of these jobs has as an item."""
        if not stats:
            return []
        keys = [_text(stat.key) for stat in stats]
        named = JobItem.select(JobItem.key).where(
            JobItem.job.in_(job_ids), JobItem.key.in_(keys), JobItem.state != "added"
        )
        known = {row[0] for row in raw_rows(named)}
        return [stat for stat, key in zip(stats, keys, strict=True) if key not in known]


def _text(key: str) -> str:
    """A key as the table takes it: bytes that are no UTF-8 become question marks."""
    return key.encode(errors="replace").decode()
