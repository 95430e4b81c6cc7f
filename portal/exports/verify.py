"""Verifications: an export that ended is read back, and compared with its manifest; nothing is written there.

Its own folder is the deepest one that holds all of its objects; where there is none, the first folder of each. What
lies in there and is named by no export of ours to this storage was added by somebody else.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, PortalError
from portal.exports import exports, plan
from portal.exports.manifest_reader import ManifestReader
from portal.jobs import item_failures, item_runner, jobs
from portal.jobs.item_failures import Outcome
from portal.jobs.item_row import Item
from portal.jobs.item_runner import Check, ProgressWriter
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
CHANGED = "Other bytes lie there than those that were sent and proved."
MISSING = "Nothing lies there any more."
ADDED = "No export of this site to this storage names it."
UNSIGNED = "It does not bear this site's signature."
PlannedItem = tuple[str, int, str]


def start(export_id: int, *, actor: Actor) -> Job:
    """Verify an export later on. Raises Missing, NotAllowed, or BadValue where it has no manifest yet."""
    rights.require_admin(actor)
    export = exports.get(export_id)
    if export.kind != "export" or not (export.result.get("manifest") or {}).get("sha256"):
        raise BadValue(f"Export {export_id} has no manifest, so there is nothing to compare with. Run it to its end.")
    with writing():
        storages.by_id(export.params["storage"])
        params = {name: export.params[name] for name in ("storage", "path", "to")} | {"export": export.id}
        job = jobs.create("verification", actor=actor, params=params, what=export.what, total=export.done + 1)
        job.parent = export.id
        job.save()
        audit.record(actor, "export:verified", "job", job.id, export=export.id, storage=export.params["to"])
    jobs.enqueue(job)
    return job


def for_export(export_id: int) -> Sequence[Job]:
    """The verifications of an export, the latest first."""
    rows = Job.select().where(Job.parent == export_id, Job.kind == "verification")
    return list(rows.order_by(Job.id.desc()).limit(MAX_SHOWN))


def view(job: Job) -> dict[str, Any]:
    """The verification for pages and `--json`: how many objects are ok, changed, missing or added."""
    found = job.result.get("found", {})
    counts = {state: found.get(state, [0, 0])[0] for state in ("ok", *DIFFERENCE_STATES, "failed")}
    told = {"project": job.params["path"], "storage": job.params["to"], "export": job.params["export"]}
    return {**jobs.view(job), **told, **counts}


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Compare what is not compared yet; what differed before is looked at again."""
    export = jobs.get(this.job.params["export"])
    storage = storages.by_id(this.job.params["storage"])
    connection_test.require_reachable(destination)
    _Verification(this, export, storage, destination).run()
    found = _sums(this.job.id)
    differs = sum(found.get(state, (0, 0))[0] for state in BAD_STATES)
    return RunEnd(state="errors" if differs else "done", message=_in_words(this.job, found), result={"found": found})


class _Verification:
    """One run of it."""

    def __init__(self, run: Run, export: Job, storage: Storage, destination: "Destination") -> None:
        self._run = run
        self._export = export
        self._prefix = f"{storage.prefix}/" if storage.prefix else ""
        self._manifest: dict[str, Any] = export.result["manifest"]
        self._storage = storage
        self._destination = destination

    def run(self) -> None:
        self._plan()
        self._forget_differences()
        tasks = (item for page in item_runner.unfinished_pages(self._run.job) for item in page)
        tally = ProgressWriter(self._run, well=OK_STATES, badly=BAD_STATES)
        threads = storages.threads(self._storage)
        item_runner.run_items(self._run, tasks, self._compare, tally, at_once=lambda: self._run.share(threads))
        self._run.write(failed=self._run.job.failed + item_runner.settle_unfinished(self._run, "are left"))
        self._look_for_more()

    def _plan(self) -> None:
        """Write what is to be compared: the manifest itself, and what it names."""
        if self._run.job.result.get("planned"):
            return
        plan.delete_items(self._run)
        size = total = 0
        spell = batched_writes.BatchWriter()
        for chunk in spell.chunks(self._wanted()):
            self._run.check()
            rows = [(self._run.job.id, None, *planned, "pending", "", False, 0) for planned in chunk]
            total, size = total + len(rows), size + sum(planned[1] for planned in chunk)
            with spell.writing():
                JobItem.add(rows)
                self._run.write_within(total=total, message="Lists what was sent.")
        self._run.write(result={**self._run.job.result, "planned": True, "bytes": size}, message="")

    def _wanted(self) -> Iterator[PlannedItem]:
        """By the manifest if it is the one that was written, else by our own rows."""
        yield self._manifest["name"], self._manifest["size"], self._manifest["sha256"]
        if not self._manifest_error(self._run.check):
            entries = self._reader(self._run.check).entries()
            yield from ((entry["key"].removeprefix(self._prefix), entry["size"], entry["sha256"]) for entry in entries)
            return
        if self._export.items_kept != "all":
            raise BadValue("The manifest is missing or changed, and the site's own list was dropped by its age.")
        after = 0
        while page := self._sent(JobItem.id > after, JobItem.id, JobItem.key, JobItem.size, JobItem.digest):
            after = page[-1][0]
            yield from (row[1:] for row in page)

    def _sent(self, condition: Any, *columns: Any) -> list[Any]:
        mine = (JobItem.job == self._export) & (JobItem.state == "verified")
        return raw_rows(JobItem.select(*columns).where(mine & condition).order_by(JobItem.id).limit(ITEMS_PER_PAGE))

    def _reader(self, check: Check) -> ManifestReader:
        def chunks() -> Iterator[bytes]:
            for chunk in self._destination.read(self._manifest["name"]):
                check()
                yield chunk

        return ManifestReader(chunks())

    def _manifest_error(self, check: Check) -> str:
        """Why the manifest is not the one that was written; empty where it is."""
        reader = self._reader(check)
        try:
            reader.check()
        except Missing:
            return MISSING
        except BadValue:
            return CHANGED
        if (reader.size, reader.digest) != (self._manifest["size"], self._manifest["sha256"]):
            return CHANGED
        return "" if reader.is_ours else UNSIGNED

    def _forget_differences(self) -> None:
        """What differed for a run before this one is compared again, and what was added is looked for again."""
        mine = JobItem.job == self._run.job
        batched_writes.delete(JobItem, mine & (JobItem.state == "added"), check=self._run.check)
        again = mine & JobItem.state.in_(("changed", "missing"))
        batched_writes.update(JobItem, again, state="pending", message="", check=self._run.check)
        compared = JobItem.select(fn.COUNT(JobItem.id), fn.COALESCE(fn.SUM(JobItem.size), 0))
        done, size = compared.where(mine, JobItem.state == "ok").tuples()[0]
        self._run.write(done=done, failed=0, bytes=size)

    def _compare(self, item: Item, check: Check) -> list[Outcome]:
        try:
            item.state, item.message = self._compared(item, check)
        except PortalError as error:
            return [item_failures.note_error(item, error)]
        return [(item, None)]

    def _compared(self, item: Item, check: Check) -> tuple[str, str]:
        if item.key == self._manifest["name"]:
            error = self._manifest_error(check)
            return ("missing" if error == MISSING else "changed" if error else "ok"), error
        found = self._destination.stat(item.key)
        if found is None:
            return "missing", MISSING
        if found.size != item.size:
            return "changed", f"It has {found.size:,} bytes, and had {item.size:,}."
        try:
            is_same = self._destination.digest(item.key, check) == (item.size, item.digest)
        except Missing:
            return "missing", MISSING
        return ("ok", "") if is_same else ("changed", CHANGED)

    def _look_for_more(self) -> None:
        """Write as items what was added."""
        self._run.write(message="Looks for what was added.")
        folder, firsts = self._own_folders()
        others: list[int] | None = None
        added = 0
        for some in batched(self._destination.list(folder), ITEMS_PER_PAGE):
            self._run.check()
            unknown = self._unnamed([stat for stat in some if _is_own(stat.key, folder, firsts)], [self._run.job.id])
            if unknown and others is None:
                others = _exports_to(self._storage.id)
            for ids in batched(others or (), ITEMS_PER_PAGE):
                unknown = self._unnamed(unknown, ids)
            rows = [
                (self._run.job.id, None, _text(stat.key), stat.size, "", "added", ADDED, False, 0) for stat in unknown
            ]
            added += len(rows)
            if rows:
                with writing():
                    JobItem.add(rows)
                    self._run.write_within(failed=self._run.job.failed + len(rows))
        self._run.write(message="")

    def _own_folders(self) -> tuple[str, set[str]]:
        """The deepest folder that holds every object, and if there is none the first folder of each."""
        mine = JobItem.select().where(JobItem.job == self._run.job, JobItem.key != self._manifest["name"])
        first, last = mine.select(fn.MIN(JobItem.key), fn.MAX(JobItem.key)).tuples()[0]
        folder, slash, _name = plan.common_prefix(first or "", last or "").rpartition("/")
        if slash:
            return f"{folder}/", set()
        parted = fn.SUBSTR(JobItem.key, 1, fn.INSTR(JobItem.key, "/"))
        firsts: Any = mine.select(parted).distinct().tuples()
        return "", {row[0] for row in firsts}

    def _unnamed(self, stats: Sequence["Stat"], job_ids: list[int]) -> list["Stat"]:
        """Those that no item of some jobs names."""
        if not stats:
            return []
        keys = [_text(stat.key) for stat in stats]
        named = JobItem.select(JobItem.key).where(
            JobItem.job.in_(job_ids), JobItem.key.in_(keys), JobItem.state != "added"
        )
        known = {row[0] for row in raw_rows(named)}
        return [stat for stat, key in zip(stats, keys, strict=True) if key not in known]


def _is_own(key: str, folder: str, firsts: set[str]) -> bool:
    return bool(folder) or key[: key.find("/") + 1] in firsts


def _text(key: str) -> str:
    """A name as the table takes it: one that is no UTF-8 has its strange bytes as question marks."""
    return key.encode(errors="replace").decode()


def _exports_to(storage_id: int) -> list[int]:
    rows = raw_rows(Job.select(Job.id).where(Job.storage == storage_id, Job.kind == "export"))
    return [row[0] for row in rows]


def _sums(job_id: int) -> dict[str, list[int]]:
    rows: Any = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == job_id)
    return {state: [number, size or 0] for state, number, size in rows.group_by(JobItem.state).tuples()}


def _in_words(job: Job, found: dict[str, list[int]]) -> str:
    numbers = {state: found.get(state, [0, 0])[0] for state in BAD_STATES}
    if not any(numbers.values()):
        number = job.total - 1
        return (
            f"{_objects(number)} {'is' if number == 1 else 'are'} as sent, and so is the manifest; nothing was added."
        )
    words = {"changed": "changed", "missing": "missing", "added": "added by somebody else", "failed": "not readable"}
    told = ", ".join(f"{numbers[state]:,} {words[state]}" for state in BAD_STATES if numbers[state])
    return f"Of {_objects(job.total - 1)} and the manifest: {told}. {item_runner.first_reason(job, BAD_STATES)}"


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"
