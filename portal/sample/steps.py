"""The sample steps: send, find, get, move, upload, export. Each compares its result with what the site recorded."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portal import parent_death, site_settings
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.errors import PortalError, Unreachable
from portal.exports import exports
from portal.jobs import jobs, progress
from portal.models import Association, Job
from portal.peers import associations, listener_status, peers
from portal.processes import health
from portal.sample import files, setup
from portal.sample.setup import AE_TITLES, CLINIC, DEVICE, PEER, RESEARCH, STORAGE
from portal.sample.upload import RestClient
from portal.storage import storages

OUTCOMES = ("stored", "same", "reencoded", "alternate", "conflict", "refused")
SUCCESS = 0
TIMEOUT = 60.0
POLL_SECONDS = 0.1

Say = Callable[[str], None]
Sent = list[dict[str, Any]]
Counts = dict[str, int]


class Mismatch(PortalError):
    """The site did something wrong, or counted it wrongly."""


def run(url: str, say: Say) -> None:
    """Fill the site that runs at `url`. Raises Mismatch at the first step that fails."""
    if is_complete():
        say("The sample data is already here; nothing was added.")
        return
    setup.create_missing(say)
    _until(
        lambda: listener_status.current(site_settings.get_all()).kind == "on",
        "The DIMSE listener did not open its port.",
    )
    last_job = next((job.id for job in jobs.list_recent(limit=1)), 0)
    sent, counts = send(say)
    compare_alternates(counts, last_job, say)
    studies = find(say, CLINIC)
    retrieve("get", sent, studies, say)
    retrieve("move", sent, studies, say)
    upload(url, say)
    export(say)


def is_complete() -> bool:
    """Whether the last step has succeeded before."""
    return any(
        view["state"] == "done" and view["storage"] == STORAGE for view in map(exports.view, exports.list_recent())
    )


def send(say: Say) -> tuple[Sent, Counts]:
    """Send every file over one association, and compare the statuses with what the site recorded."""
    sendable = files.list_all()
    kinds = Counter(one.kind for one in sendable)
    unique = len({one.sop_instance_uid for one in sendable})
    last = next((row.id for row in associations.list_recent(limit=1)), 0)
    sent: Sent = _step("send", CLINIC, paths=[str(one.path) for one in sendable])

    def ended() -> Association | None:
        rows = [row for row in associations.list_recent() if row.id > last and row.peer and row.peer.label == PEER]
        return next((row for row in rows if row.ended), None)

    row = _until(ended, "The association of the C-STOREs is not listed or has not ended.")
    recorded: Counts = row.counts.get("store", {})
    counts = {name: recorded.get(name, 0) for name in OUTCOMES}
    accepted = sum(one["status"] == SUCCESS for one in sent)
    _must(
        accepted == len(sent) - counts["refused"],
        f"{accepted} of {len(sent)} were answered 0000, recorded was {counts}",
    )
    _must(sum(counts.values()) == len(sendable), f"{len(sendable)} were sent, recorded was {counts}")
    listed = ", ".join(f"{number} {name}" for name, number in kinds.items())
    files_sent = f"{len(sent)} files of {unique} SOP Instances sent ({listed}), one for each instance first"
    say(f"C-STORE: {files_sent}: {_sum(counts)}.")
    return sent, counts


def compare_alternates(counts: Counts, last_job: int, say: Say) -> None:
    """Have the alternates compared now rather than soon; those with different content become conflicts."""
    asked = [job for job in jobs.list_recent(kinds=("comparison",)) if job.id > last_job]
    if not asked:
        return
    for job in asked:
        jobs.try_now(job.id, actor=operator())
    ended = [_ended(job.id) for job in asked]
    _must(all(job.state == "done" for job in ended), "The comparison of the alternates failed.")
    same, other = (sum(job.result[name] for job in ended) for name in ("alternates", "conflicts"))
    _must(
        same + other == counts["alternate"], f"{counts['alternate']} alternates were sent, {same + other} were compared"
    )
    now = {**counts, "alternate": same, "conflict": counts["conflict"] + other}
    say(f"Comparison: {same} alternates have the same content, {other} became conflicts: {_sum(now)}.")


def find(say: Say, project: str) -> dict[str, int]:
    """Find everything of one project by C-FIND; returns the studies with their numbers of instances."""
    found = _step("find", project)
    _must(found["status"] == SUCCESS, f"C-FIND ended with status {found['status']}")
    studies: dict[str, int] = found["studies"]
    say(f"C-FIND: {len(studies)} studies with {sum(studies.values())} instances in {project}.")
    return studies


def retrieve(verb: str, sent: Sent, studies: dict[str, int], say: Say) -> None:
    """Retrieve every study by C-GET or C-MOVE, and compare each data set with the one that was sent."""
    more: dict[str, Any] = {"contexts": sorted({(one["sop_class_uid"], one["transfer_syntax_uid"]) for one in sent})}
    if verb == "move":
        more = {"own_port": peers.get(PEER).port}
    got = _step(verb, CLINIC, studies=sorted(studies), **more)
    known: dict[str, set[str]] = {}
    for one in sent:
        known.setdefault(one["sop_instance_uid"], set()).add(one["digest"])
    equal = sum(digest in known.get(uid, ()) for uid, digest in got["digests"].items())
    failed = [status for status in got["statuses"] if status != SUCCESS]
    name = f"C-{verb.upper()}"
    _must(not failed, f"{name}: {len(failed)} of {len(studies)} studies ended with a status other than 0000")
    _must(len(got["digests"]) == sum(studies.values()), f"{name}: {len(got['digests'])} instances were received")
    _must(equal == len(got["digests"]), f"{name}: {equal} of {len(got['digests'])} are identical to those sent")
    say(f"{name}: {len(studies)} studies, {equal} instances retrieved, each byte for byte the data set that was sent.")


def upload(url: str, say: Say) -> None:
    """Upload one file of each SOP Class into the second project with a device key, and find them by C-FIND."""
    device = devices.get(DEVICE)
    for row in api_keys.for_owner(device):
        if row.name == "sample" and row.revoked is None:
            api_keys.revoke(device, row.key_id, actor=operator())
    issued = api_keys.issue(device, name="sample", actor=operator())
    chosen = list({one.sop_class_uid: one for one in reversed(files.list_all())}.values())
    uploader = RestClient(url, issued.secret)
    group, _slash, project = RESEARCH.partition("/")
    acquisition = uploader.acquisition(group, project, ("Sample", "Uploaded", "One of each SOP Class"))
    equal = sum(uploader.round_trip(acquisition, one) for one in chosen)
    _must(equal == len(chosen), f"REST: {equal} of {len(chosen)} files were downloaded unchanged")
    say(f"REST: {equal} files, one of each SOP Class, uploaded to {RESEARCH} and downloaded byte for byte.")
    say(f"Key of {DEVICE} (shown only once): {issued.secret}")
    found = sum(find(say, RESEARCH).values())
    _must(found == len(chosen), f"C-FIND shows {found} of the {len(chosen)} uploaded files")


def export(say: Say) -> None:
    """Export the first project, and compare each object in the storage with its entry in the manifest."""
    job = exports.start(CLINIC, to=STORAGE, actor=operator())
    ended = _ended(job.id)
    view = exports.view(ended)
    _must(ended.state == "done", f"Export {job.id} ended {ended.state}: {ended.message}")
    folder = Path(storages.view(storages.get(STORAGE))["path"])
    listed = json.loads((folder / view["manifest"]["key"]).read_bytes())["items"]
    equal = sum(hashlib.sha256((folder / one["key"]).read_bytes()).hexdigest() == one["sha256"] for one in listed)
    _must(len(listed) == view["items"], f"Export {job.id} has {view['items']} objects, its manifest {len(listed)}")
    _must(equal == len(listed), f"Export {job.id}: {equal} of {len(listed)} objects match the manifest")
    say(
        f"Export: {equal} objects of {CLINIC} with {view['bytes']} bytes exported to {STORAGE}; all match the manifest."
    )


def _step(name: str, project: str, **what: Any) -> Any:
    """Have the sample peer do one step with a project's AE title; returns its answer."""
    options = site_settings.get_all()
    where = {"host": health.reachable_host(options["dimse.host"]), "port": options["dimse.port"]}
    whom = {"called": AE_TITLES[project], "calling": peers.get(PEER).ae_title}
    done = subprocess.run(
        parent_death.wrap_command([sys.executable, "-P", "-m", "dimse_worker.sample_peer", name]),
        input=json.dumps({"site": {**where, **whom}, **what}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise Unreachable(f"The sample peer could not {name}: {lines[-1] if lines else 'it was stopped'}")
    return json.loads(done.stdout)


def _ended(job_id: int) -> Job:
    """The job once it has ended, which may take as long as it makes progress."""
    ended: Job = _until(
        lambda: job if (job := jobs.get(job_id)).state in progress.ENDED_STATES else None,
        f"Job {job_id} has not ended.",
        progress_of=lambda: (jobs.get(job_id).done, jobs.get(job_id).state),
    )
    return ended


def _until(condition: Callable[[], Any], message: str, progress_of: Callable[[], Any] = lambda: None) -> Any:
    """The condition's first true value. Raises Mismatch a minute after `progress_of` last changed."""
    seen, deadline = progress_of(), time.monotonic() + TIMEOUT
    while not (found := condition()):
        if progress_of() != seen:
            seen, deadline = progress_of(), time.monotonic() + TIMEOUT
        _must(time.monotonic() < deadline, message)
        time.sleep(POLL_SECONDS)
    return found


def _must(holds: bool, message: str) -> None:
    if not holds:
        raise Mismatch(message)


def _sum(counts: Counts) -> str:
    return f"{' + '.join(f'{number} {name}' for name, number in counts.items())} = {sum(counts.values())}"
