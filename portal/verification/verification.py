"""The verification of the site as a job: started by hand or each week, continued after a stop, ended in a sentence."""

from collections.abc import Sequence
from typing import Any

from peewee import fn

from portal.access import audit, audit_anchors, audit_chain, rights
from portal.access.actors import Actor
from portal.access.audit_chain import Head
from portal.errors import BadValue, Damaged
from portal.jobs import item_row, jobs
from portal.jobs.progress import ACTIVE_STATES
from portal.jobs.runs import Run, RunEnd
from portal.models import Audit, Blob, File, FileVersion, Instance, Job, JobItem, Series, Study, now, writing
from portal.verification import audit_log, files, index, io_priority, manifests, segments
from portal.verification.manifests import OpenStorage
from portal.verification.recorder import AREAS, KEY, Recorder, State

KIND = "site_verification"
MAX_SHOWN = 20
"""Verifications that the page lists."""
MAX_REASON_LENGTH = 500
AREA_TEXTS = {
    "audit": "in the audit log",
    "archive": "in the archive",
    "files": "among the files",
    "index": "in the index",
    "manifests": "among the manifests",
}
IN_SUMMARY = {
    "entries": "audit entry",
    "anchors": "anchor",
    "segments": "segment",
    "files": "file",
    "instances": "instance",
    "manifests": "manifest",
}
"""What the summary counts, one of each in words."""
LABELS = {
    "entries": "Audit entries",
    "anchors": "Anchors of the audit log",
    "segments": "Segments",
    "records": "Records in segments",
    "copies": "Segments in the bucket",
    "files": "Files",
    "older versions": "Older versions of files",
    "instances": "Instances",
    "series of the index": "Series",
    "studies of the index": "Studies",
    "headers": "Headers compared",
    "manifests": "Manifests",
}
"""What the page counts, in its order."""


def start(*, actor: Actor, all_headers: bool = False, enqueue: bool = True) -> Job:
    """Verify the site; a verification that runs or waits already is returned. Raises NotAllowed.

    Without `enqueue` the caller runs it, as no worker does.
    """
    rights.require_admin(actor)
    with writing():
        job = active()
        if job is None:
            params = {"all_headers": True} if all_headers else {}
            job = jobs.create(KIND, actor=actor, params=params, what="The whole site")
            audit.record(actor, "site:verification_started", "job", job.id)
        elif job.state == "waiting":
            Job.update(due=now()).where(Job.id == job.id).execute()
    if enqueue:
        jobs.enqueue(job)
    return job


def run(this: Run, *, open_storage: OpenStorage) -> RunEnd:
    """Verify what the last run has not verified yet; after one that came to its end, all anew."""
    recorder = Recorder(this)
    if KEY not in this.job.result or not recorder.state.area:
        size = Blob.select(fn.COALESCE(fn.SUM(Blob.size), 0)).scalar()
        recorder.begin(_count_steps(), size)
    checks: dict[str, Any] = {
        "audit": audit_log.check,
        "archive": segments.check,
        "files": files.check,
        "index": lambda recorder: index.check(recorder, all_headers=bool(this.job.params.get("all_headers"))),
        "manifests": lambda recorder: manifests.check(recorder, open_storage),
    }
    with io_priority.idle():
        for area in AREAS[AREAS.index(recorder.state.area) :]:
            checks[area](recorder)
            recorder.leave()
    audit_anchors.try_to_add("verification")
    state = recorder.state
    this.write(total=this.job.done)
    return RunEnd(state="errors" if state.findings else "done", message=_summary(this.job, state))


def _count_steps() -> int:
    """Rows that will be checked; some tables are read twice."""
    tables: Sequence[Any] = (Audit, Blob, File, FileVersion, Instance, Series, Study)
    return int(sum(table.select(fn.COUNT(table.id)).scalar() for table in tables))


def _summary(job: Job, state: State) -> str:
    parts = []
    for name, one in IN_SUMMARY.items():
        number = state.checked.get(name, 0)
        many = f"{one.removesuffix('y')}ies" if one.endswith("y") else f"{one}s"
        if number or name not in ("anchors", "manifests"):
            parts.append(f"1 {one}" if number == 1 else f"{number:,} {many}")
    checked = f"{', '.join(parts[:-1])} and {parts[-1]}"
    skipped = "".join(f" Not checked: {reason} ({number:,})." for reason, number in state.skipped.items())
    if not state.findings:
        return f"Nothing is wrong. Checked: {checked}.{skipped}"
    problems = "1 problem" if state.findings == 1 else f"{state.findings:,} problems"
    where = ", ".join(f"{state.found[area]:,} {AREA_TEXTS[area]}" for area in AREAS if state.found.get(area))
    first = item_row.select_first(JobItem.job == job, 1)
    reason = f" The first: {first[0].key}: {first[0].message}" if first else ""
    return f"{problems} found: {where}.{reason} Checked: {checked}.{skipped}"


def active() -> Job | None:
    """The verification that runs or waits."""
    job: Job | None = Job.select().where(Job.kind == KIND, Job.state.in_(ACTIVE_STATES)).first()
    return job


def latest() -> Job | None:
    """The last verification that came to its end."""
    ended = Job.select().where(Job.kind == KIND, Job.state.in_(("done", "errors")))
    job: Job | None = ended.order_by(Job.id.desc()).first()
    return job


def list_recent() -> list[Job]:
    return list(Job.select().where(Job.kind == KIND).order_by(Job.id.desc()).limit(MAX_SHOWN))


def view(job: Job) -> dict[str, Any]:
    """The verification for pages and `--json`."""
    state = State.load(job.result)
    rows = item_row.select_first(JobItem.job == job, 1000)
    return {
        **jobs.view(job),
        "area": state.area,
        "checked": state.checked,
        "found": state.found,
        "findings": state.findings,
        "not_checked": state.skipped,
        "problems": [{"area": row.state, "subject": row.key, "message": row.message} for row in rows],
    }


def require_anchor(text: str) -> None:
    """Raise Damaged unless the audit log still has an entry that syslog received, given as `NUMBER:HASH`.

    Raises BadValue for anything else.
    """
    number, _, digest = text.strip().partition(":")
    if not (number.isascii() and number.isdecimal()) or len(number) > 18 or not digest:
        raise BadValue("Write the anchor as NUMBER:HASH, such as entries= and hash= in syslog say.", field="anchor")
    if not audit_chain.holds(Head(number=int(number), hash=digest)):
        raise Damaged(
            f"The audit log has no entry {int(number):,} with this digest: the database was exchanged, or entries were "
            "removed. Keep a copy as evidence, and restore the newest backup."
        )


def can_accept(job: Job) -> bool:
    """Whether what a verification found may come from a restore, which an admin can accept."""
    subjects = JobItem.select().where(
        JobItem.job == job, JobItem.state == "audit", JobItem.key.in_(audit_log.ACCEPTABLE)
    )
    return bool(subjects.exists())


def accept_restore(reason: str, *, actor: Actor) -> None:
    """Accept that the audit log is another one than was anchored: the database was restored or rebuilt on purpose.

    Entries that were changed or removed within the log stay findings. Raises NotAllowed, and BadValue where there is
    no reason or nothing to accept.
    """
    rights.require_admin(actor)
    reason = reason.strip()
    if not 3 <= len(reason) <= MAX_REASON_LENGTH:
        raise BadValue(f"Give the reason, in 3 to {MAX_REASON_LENGTH} characters.", field="reason")
    found = audit_log.find_contradictions()
    if not found.first_number and not found.file:
        raise BadValue("There is nothing to accept: the audit log agrees with its anchors.", field="reason")
    with writing():
        audit.record(actor, "audit:restore_accepted", "site", "", reason=reason, from_entry=found.first_number)
    audit_anchors.add("accepted", accepts_from=found.first_number)
