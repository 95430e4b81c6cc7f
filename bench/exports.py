"""How long exports take, on rows and objects that are made up.

python bench/exports.py plan DIR [--instances 1000000]
"""

import argparse
import contextlib
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import make_index

from portal import app, export_items, exports, jobs, migrations, models, runs, runtime, settings, users
from portal.errors import Taken
from portal.export_orders import Options
from portal.models import Job, JobItem, Setting, Storage, Study
from portal.provenance import operator
from portal.runs import End, Run
from portal.storage import storages

RULE = {
    "level": "acquisition",
    "include": ["modality is CT or MR", "modality is US and series contains axial"],
    "exclude": ["file ends 7.dcm"],
    "path": "{project}/{subject}/{date:%Y-%m-%d}/{modality|OT}-{acquisition}/{file}",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("plan",))
    parser.add_argument("data", type=Path)
    parser.add_argument("--instances", type=int, default=1_000_000)
    options = parser.parse_args()
    chosen = settings.load(options.data)
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        if not Study.select().exists():
            make_index.fill(options.instances // 50, options.instances)
        plan(options.data)


def plan(data: Path) -> None:
    """The plan of everything, usual and by a rule, while others write; then its pages."""
    if not Storage.select().exists():
        storages.add("mirror", "fs", path=str(data.resolve() / "storage" / "mirror"), actor=operator())
    for name, options in (("usual", Options()), ("by a rule", Options(rules=[RULE]))):
        with Waiting(data) as waiting:
            began = time.perf_counter()
            job = exports.start("bench/p1", to="mirror", actor=operator(), options=options)
            started, before = time.perf_counter(), time.process_time()
            runs.perform(job.id, planned)
            took = time.perf_counter() - started
            worked = time.process_time() - before
        job = jobs.get(job.id)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: start {1000 * (started - began):.0f} ms, plan of {job.total:,} objects {took:.1f} s")
        print(f"  {worked:.1f} s of work, peak memory {peak:.0f} MiB")
        print(f"  another writer meanwhile: {waiting.words()}")
        pages(job)
    begun = time.perf_counter()
    Job.update(state="waiting", result={}).where(Job.id == job.id).execute()
    with Waiting(data) as waiting:
        runs.perform(job.id, dropped)
    print(f"dropped again in {time.perf_counter() - begun:.1f} s; another writer: {waiting.words()}")


def planned(run: Run) -> End:
    export_items.plan(run)
    return End(sentence="planned")


def dropped(run: Run) -> End:
    export_items.drop(run)
    return End(sentence="dropped")


def pages(job: Job) -> None:
    """The best and the worst of five answers of each page."""
    flask = app.create_app(runtime.current())
    flask.config["WTF_CSRF_ENABLED"] = False
    client = flask.test_client()
    sign_in(client)
    first = JobItem.select().where(JobItem.job == job).first()
    for address in (
        f"/jobs/{job.id}",
        f"/jobs/{job.id}/progress",
        f"/jobs/{job.id}?only=pending&page=200",
        f"/jobs/{job.id}?sort=object",
        f"/jobs/{job.id}?sort=-size",
        f"/jobs/{job.id}?q={first.key.rpartition('/')[2]}",
        f"/jobs/{job.id}?q=p1/P00",
        "/exports/",
        "/exports/new",
        f"/exports/new?like={job.id}",
    ):
        times = sorted(timed(lambda where=address: client.get(where)) for _ in range(5))
        print(f"  {address:44} {times[0]:7.1f} to {times[-1]:7.1f} ms")


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
        return f"{len(self.times)} writes, " + ", ".join(
            f"{name} {1000 * seconds:.0f} ms" for name, seconds in zip(("p50", "p95", "p99", "max"), at, strict=True)
        )


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
