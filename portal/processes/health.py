"""Whether the processes of a site answer; nothing is cached."""

import contextlib
import http.client
import subprocess
import sys
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from portal import models, runtime, segment_checks, site_settings
from portal.errors import PortalError
from portal.ingest import disk_reserve
from portal.jobs import jobs, queue
from portal.jobs.queue import LANES
from portal.maintenance import quarantine, segment_copies
from portal.peers import listener_status
from portal.processes import startup
from portal.settings import Settings
from portal.verification import schedule, verification

HTTP_SECONDS = 2.0
ECHO_SECONDS = 15.0
QUEUE_DOWN = "The queue (Valkey) does not answer. See logs/valkey.log, or PORTAL_REDIS_URL if you have set it."


def report() -> dict[str, Any]:
    """The state of each part; `problems` has a sentence for each that does not work."""
    chosen = runtime.current()
    holder, answers = startup.holder(chosen), False
    if holder is None:
        problem = f"Portico does not run on {chosen.data}. Start it: portal up"
    else:
        answers = web_answers(holder["url"])
        problem = "" if answers else _web_problem(holder["url"])
    web = {"url": holder["url"] if holder else None, "answers": answers, "problem": problem}
    parts = {"web": web, "queue": _queue(), "dimse": _dimse(chosen), "disk": _disk(chosen)}
    parts["archive"] = _archive()
    parts["segments"] = _segments()
    parts["verification"] = _verification()
    return {
        "release": metadata.version("portico"),
        "data": str(chosen.data),
        **parts,
        "problems": [part["problem"] for part in parts.values() if part["problem"]],
    }


def problems(url: str, *, listener: int | None) -> list[str]:
    """A sentence for each part that does not work yet; the costly check comes last.

    `listener`: the process id of the site's own listener: another Portico on its port would answer a C-ECHO, too.
    """
    sentences = [] if web_answers(url) else [_web_problem(url)]
    sentences += [] if queue.is_reachable() else [QUEUE_DOWN]
    if sentences:
        return sentences
    with models.connection():
        problem = _dimse(runtime.current(), listener)["problem"]
    return [problem] if problem else []


def web_answers(url: str) -> bool:
    """Whether the web server at this address answers without a server error."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return http_status(url, HTTP_SECONDS) < 500
    return False


def http_status(url: str, seconds: float) -> int:
    """The HTTP status of a small request. Raises OSError and HTTPException if there is no response."""
    parts = urlsplit(url)
    with contextlib.closing(
        http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    ) as connection:
        connection.request("GET", "/api/version")
        return connection.getresponse().status


def reachable_host(host: str) -> str:
    """An address that reaches what listens on `host` of this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _web_problem(url: str) -> str:
    return f"The web server (web) does not answer at {url}. See logs/web.log."


def _queue() -> dict[str, Any]:
    answers = queue.is_reachable()
    workers = queue.count_workers() if answers else 0
    lanes = {lane: queue.count_lane_workers(lane) or 0 for lane in LANES} if answers else dict.fromkeys(LANES, 0)
    problem = "" if answers else QUEUE_DOWN
    if answers and not all(lanes.values()):
        without = " and ".join(lane for lane, number in lanes.items() if not number)
        problem = f"No worker for {without} jobs has registered with the queue."
    elif answers and (silent := queue.silent_workers()):
        numbers = " and ".join(str(pid) for pid in silent)
        problem = f"A worker (process {numbers}) does not answer. If this continues, `portal up` restarts it."
    return {"answers": answers, "workers": workers, "lanes": lanes, **jobs.queue_lengths(), "problem": problem}


def _dimse(chosen: Settings, listener: int | None = None) -> dict[str, Any]:
    """Whether the site's own listener has the port, and if so, whether it answers a C-ECHO."""
    options = site_settings.get_all()
    view = {name: options[f"dimse.{name}"] for name in ("enabled", "ae_title", "host", "port")}
    state = listener_status.current(options, listener=listener)
    problem = state.message
    if state.kind == "off":
        problem = ""
    elif state.kind == "on":
        # The network part of a C-ECHO is the worker's: `portal` does not import pynetdicom.
        command = [sys.executable, "-P", "-m", "dimse_worker.self_echo", str(chosen.data)]
        try:
            echo = subprocess.run(command, capture_output=True, text=True, timeout=ECHO_SECONDS, check=False)
            problem = echo.stdout.strip() if echo.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"The listener (listen) did not answer a C-ECHO within {ECHO_SECONDS:.0f} s. See logs/listen.log."
    return {**view, "answers": bool(view["enabled"] and not problem), "problem": problem}


def _disk(chosen: Settings) -> dict[str, Any]:
    """The disk of the archive; `disks`: each disk that the site writes to."""
    disks = disk_reserve.disks()
    problems = [disk_reserve.ballast_warning(), *(disk.problem for disk in disks)]
    archive_size = 0
    for segment in chosen.archive.glob("*.seg"):
        with contextlib.suppress(FileNotFoundError):
            archive_size += segment.stat().st_blocks * 512  # without the holes that purged records left
    figures = {"free": disks[0].room.free, "reserve": disks[0].room.floor, "archive": archive_size}
    return {**figures, "disks": [disk.view() for disk in disks], "problem": " ".join(filter(None, problems))}


def _segments() -> dict[str, Any]:
    """Segments that are missing, and those that the last `portal reindex` found damaged."""
    missing = [problem.message for problem in segment_checks.find_problems()]
    damaged = [row.message for row in segment_checks.known_problems() if row.kind == segment_checks.DAMAGED]
    problems = [*missing, *damaged]
    problem = problems[0] if problems else ""
    if len(problems) > 1:
        problem += f" {len(problems):,} segments have problems."
    named = {"missing": missing[: segment_checks.MAX_PROBLEMS_SHOWN], "damaged": damaged}
    return {**named, "quarantined": quarantine.count_unacknowledged(), "problem": problem}


def _verification() -> dict[str, Any]:
    """The last verification of the site that came to its end, and when the next one is due."""
    last, running = verification.latest(), verification.active()
    ended = {"id": last.id, "ended": last.ended, "findings": last.failed} if last else None
    problem = ""
    if last and last.failed:
        number = "1 problem" if last.failed == 1 else f"{last.failed:,} problems"
        problem = f"The last verification of the site found {number}. See: portal job show {last.id}"
    return {"last": ended, "running": running.id if running else None, "next": schedule.next_due(), "problem": problem}


def _archive() -> dict[str, Any]:
    """The bucket of closed segments: whether it answers, what waits for it, and what is damaged in it."""
    bucket, state = runtime.bucket(), segment_copies.bucket_state()
    if bucket is None or state is None:
        return {"bucket": None, "problem": ""}
    problem = state.problem
    try:
        next(bucket.destination(hasty=True).list(), None)
    except PortalError as error:
        problem = f"The archive's bucket cannot be used. {error.message}"
    figures = {name: getattr(state, name) for name in ("there", "there_size", "waiting", "waiting_size")}
    return {"bucket": bucket.words, **figures, "cache": state.cache, "cache_limit": state.limit, "problem": problem}
