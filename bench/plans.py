"""How long exports of a large site take to plan, who else waits for it, and how soon their pages answer.

python bench/plans.py DIR [--instances 1000000]
"""

import argparse
import contextlib
import datetime
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_index
import results

from portal import app, migrations, models, runtime, settings
from portal.access.actors import operator
from portal.errors import Taken
from portal.exports import exports, plan
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, Setting, Storage, Study
from portal.storage import storages
from portal.users import users

WHOLE = 1_000_000
"""Objects of a site whose figures are kept."""
RULE = {
    "level": "acquisition",
    "include": ["modality is CT or MR", "modality is US and series contains axial"],
    "exclude": ["file ends 7.dcm"],
    "path": "{project}/{subject}/{date:%Y-%m-%d}/{modality|OT}-{acquisition}/{file}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--instances", type=int, default=WHOLE)
    options = parser.parse_args()
    chosen = settings.load(options.data)
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        if not Study.select().exists():
            make_index.fill(options.instances // 50, options.instances)
        text = "\n".join(report(options.data, options.instances))
    print(text)
    if options.instances == WHOLE:
        results.keep("plans", text)


def report(data: Path, instances: int) -> list[str]:
    """The plan of everything, as it lies and by a rule, while others write; and the pages of the last one."""
    if not Storage.select().exists():
        storages.add("mirror", "fs", path=str(data.resolve() / "storage" / "mirror"), actor=operator())
    lines = [
        f"## Plans, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "",
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the beginning, Python {platform.python_version()}; "
        f"{instances:,} objects. Another process writes one",
        "short row after the other meanwhile, as C-STOREs do: how long it took for one of them.",
        "",
        "| export | start ms | objects | plan s | peak MiB | another's write, ms: p50, p95, p99, most |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, options in (("everything, as it lies", Options()), ("by a rule", Options(rules=[RULE]))):
        with Waiting(data) as waiting:
            began = time.perf_counter()
            job = exports.start("bench/p1", to="mirror", actor=operator(), options=options)
            started = time.perf_counter()
            runs.perform(job.id, planned)
            took = time.perf_counter() - started
        job = jobs.get(job.id)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        start = f"{1000 * (started - began):.0f}"
        lines.append(f"| {name} | {start} | {job.total:,} | {took:.1f} | {peak} | {waiting.words()} |")
    lines += ["", "| page of the last one | fastest of 5, ms | slowest, ms |", "|---|---:|---:|", *pages(job), ""]
    begun = time.perf_counter()
    Job.update(state="waiting", result={}).where(Job.id == job.id).execute()
    with Waiting(data) as waiting:
        runs.perform(job.id, dropped)
    return [*lines, f"Dropped again in {time.perf_counter() - begun:.1f} s; another's write: {waiting.words()} ms."]


def planned(run: Run) -> RunEnd:
    plan.plan(run)
    return RunEnd(message="planned")


def dropped(run: Run) -> RunEnd:
    plan.delete_items(run)
    return RunEnd(message="dropped")


def pages(job: Job) -> list[str]:
    """A row of the table for each page that shows a large export."""
    flask = app.create_app(runtime.current())
    flask.config["WTF_CSRF_ENABLED"] = False
    client = flask.test_client()
    sign_in(client)
    rows = []
    first = JobItem.select().where(JobItem.job == job).first()
    for name, address in {
        "its page": f"/jobs/{job.id}",
        "its progress": f"/jobs/{job.id}/progress",
        "page 200 of what waits": f"/jobs/{job.id}?only=pending&page=200",
        "by object": f"/jobs/{job.id}?sort=object",
        "largest first": f"/jobs/{job.id}?sort=-size",
        "searched: a file": f"/jobs/{job.id}?q={first.key.rpartition('/')[2]}",
        "searched: a beginning": f"/jobs/{job.id}?q=p1/P00",
        "all exports": "/exports/",
        "a new export": "/exports/new",
        "a new export like it": f"/exports/new?like={job.id}",
    }.items():
        times = sorted(timed(lambda where=address: client.get(where)) for _ in range(5))
        rows.append(f"| {name} | {times[0]:.0f} | {times[-1]:.0f} |")
    return rows


def sign_in(client: Any) -> None:
    email, password = "bench@site.example", "a long password of the bench"
    with contextlib.suppress(Taken):
        users.add(email, password, is_admin=True, actor=operator())
    answer = client.post("/sign-in", data={"email": email, "password": password})
    assert answer.status_code in (302, 303), answer.status_code


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    answer = call()
    assert answer.status_code == 200, answer.status_code
    return 1000 * (time.perf_counter() - began)


class Waiting:
    """Another process that writes one short row after the other, as C-STOREs do, and how long each takes."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._spawn = multiprocessing.get_context("spawn")
        self._end = self._spawn.Event()
        self._queue: Any = self._spawn.Queue()

    def __enter__(self) -> "Waiting":
        arguments = (self._data, self._end, self._queue)
        self._process = self._spawn.Process(target=write_rows, args=arguments)
        self._process.start()
        self._queue.get()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self.times = sorted(self._queue.get())
        self._process.join()

    def words(self) -> str:
        at = [self.times[int(part * (len(self.times) - 1))] for part in (0.5, 0.95, 0.99, 1)]
        return ", ".join(f"{1000 * seconds:.0f}" for seconds in at)


def write_rows(data: Path, end: Any, queue: Any) -> None:
    runtime.start(settings.load(data))
    times = []
    queue.put("ready")
    with models.connection():
        while not end.wait(0.01):
            began = time.perf_counter()
            with models.writing():
                Setting.insert(key="bench", value=began).on_conflict_replace().execute()
            times.append(time.perf_counter() - began)
    queue.put(times)


if __name__ == "__main__":
    main()
