"""How fast uploads are beside `cp && sync`, what memory they take, and what pages take meanwhile (`make bench`).

python bench/uploads.py DIR [--part 10]

`--part` makes all uploads so many times smaller; nothing is written to the results then.
"""

import argparse
import datetime
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
import results

sys.path.append(str(Path(__file__).parents[1]))

from portal import migrations, models, runtime, settings
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.users import users
from tests.fixtures.api import Api
from tests.fixtures.memory_growth import growth
from tests.fixtures.up import Up
from tests.fixtures.web import token_in

EMAIL, PASSWORD = "admin@site.example", "correct horse battery"
SPEED_BYTES, LARGE_BYTES, EACH_BYTES = 2 << 30, 5 << 30, 128 << 20
AT_ONCE = 8
PAGES = ("/", "/data/", "/jobs/", "/interfaces/devices/")
PAUSE = 0.02
BOUNDARY = "0123456789abcdef" * 2  # as long as those of Python's requests
PIECE = 1 << 20


@dataclass
class Measured:
    """Seconds of each round, bytes by which the web grew, and seconds of each page."""

    ours: list[float]
    copies: list[float]
    grown: int
    pages: list[float]
    beside: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        text = report(measure(Path(folder).resolve(), options.part, options.rounds), options.part, options.rounds, load)
    print(text)
    if options.part == 1:
        results.keep("uploads", text)


def measure(folder: Path, part: int, rounds: int) -> Measured:
    up = Up(folder / "data")
    key = furnish(up)
    up.start()
    try:
        up.ready()
        api = Api(up.url, key)
        acquisition = api.acquisition()
        source = filled(folder / "source.bin", SPEED_BYTES // part)
        ours, copies = [], []
        for number in range(rounds):
            for who in ("ours", "cp") if number % 2 else ("cp", "ours"):
                warm(source)
                os.sync()
                began = time.perf_counter()
                if who == "ours":
                    send(up.port, key, acquisition, source, f"speed-{number}.bin")
                else:
                    subprocess.run(f"cp {source} {folder}/copy && sync {folder}/copy", shell=True, check=True)
                (ours if who == "ours" else copies).append(time.perf_counter() - began)
                print(f"{who}: {time.perf_counter() - began:.2f} s", file=sys.stderr)
                (folder / "copy").unlink(missing_ok=True)
            change(source, number)
        grown = grown_by(up, key, acquisition, filled(source, LARGE_BYTES // part))
        pages, beside = pages_beside(up, key, acquisition, folder, EACH_BYTES // part)
    finally:
        up.end()
    return Measured(ours, copies, grown, pages, beside)


def furnish(up: Up) -> str:
    """The key of a device of a new site, that has an admin."""
    shutil.rmtree(up.data, ignore_errors=True)
    chosen = settings.load(up.data, {"PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        users.add(EMAIL, PASSWORD, True, actor=operator())
        device = devices.add("bench", "importer", actor=operator())
        secret = api_keys.issue(device, name="bench", actor=operator()).secret
    runtime.archive().close()
    return secret


def filled(path: Path, size: int) -> Path:
    filler = os.urandom(PIECE)
    with path.open("wb") as file:
        for at in range(0, size, PIECE):
            file.write((at.to_bytes(8, "big") + filler)[: min(PIECE, size - at)])
    return path


def change(path: Path, number: int) -> None:
    """Other content, so that the next upload is not what is stored already."""
    with path.open("r+b") as file:
        file.write(number.to_bytes(8, "big"))


def warm(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(PIECE):
            pass


def send(port: int, key: str, acquisition: str, path: Path, name: str) -> None:
    """Upload a file, with as little work as a sender can have: the kernel moves the bytes."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    size = path.stat().st_size
    request = (
        f"POST /api/acquisitions/{acquisition}/files HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(head) + size + len(tail)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection, path.open("rb") as file:
        connection.sendall(request.encode() + head)
        connection.sendfile(file)
        connection.sendall(tail)
        answer = b"".join(iter(lambda: connection.recv(PIECE), b""))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"void: {answer[:2000]!r}")


def grown_by(up: Up, key: str, acquisition: str, path: Path) -> int:
    """The most bytes by which a process of the web grows while it takes one file."""
    [web] = [pid for pid in up.children("portal.processes.web_server") if is_first(up, pid)]
    with growth(web) as found:
        send(up.port, key, acquisition, path, "large.bin")
    path.unlink()
    return found.most


def is_first(up: Up, pid: int) -> bool:
    """Whether it is the process that started the others of its kind."""
    parent = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("PPid:"))
    return int(parent.split()[1]) not in up.children("portal.processes.web_server")


def pages_beside(up: Up, key: str, acquisition: str, folder: Path, size: int) -> tuple[list[float], float]:
    """Seconds of each page while several files are uploaded at once, and of all these uploads."""
    sources = [filled(folder / f"{number}.bin", size) for number in range(AT_ONCE)]
    for number, source in enumerate(sources):
        change(source, 1000 + number)
    browser = signed_in(up.url)
    times: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for page in PAGES:
                began = time.perf_counter()
                browser.get(up.url + page, timeout=60).raise_for_status()
                times.append(time.perf_counter() - began)
                over.wait(PAUSE)

    looking = threading.Thread(target=look)
    looking.start()
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda one: send(up.port, key, acquisition, one, one.name), sources))
    took = time.perf_counter() - began
    over.set()
    looking.join()
    return times, took


def signed_in(url: str) -> requests.Session:
    browser = requests.Session()
    form = {
        "csrf_token": token_in(browser.get(f"{url}/sign-in", timeout=10).text),
        "email": EMAIL,
        "password": PASSWORD,
    }
    browser.post(f"{url}/sign-in", data=form, timeout=10).raise_for_status()
    return browser


def report(found: Measured, part: int, rounds: int, load: float) -> str:
    return "\n".join(lines(found, part, rounds, load))


def lines(found: Measured, part: int, rounds: int, load: float) -> Iterator[str]:
    smaller = f"; every upload {part} times smaller" if part > 1 else ""
    ours, copies = statistics.median(found.ours), statistics.median(found.copies)
    size = SPEED_BYTES / part / 1e6
    pages = sorted(found.pages)
    p50, p95 = (1000 * pages[int(share * (len(pages) - 1))] for share in (0.5, 0.95))
    yield f"## Uploads, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    yield ""
    yield f"{os.cpu_count()} cores, load {load:.1f} at the beginning, Python {platform.python_version()}{smaller}."
    yield f"Medians of {rounds}; sender and site on the same cores and disk."
    yield ""
    yield "| what | figure |"
    yield "|---|---:|"
    yield f"| {size:,.0f} MB in one upload, until the answer | {ours:.1f} s, {size / ours:,.0f} MB/s |"
    yield f"| the same by `cp && sync` | {copies:.1f} s, {size / copies:,.0f} MB/s |"
    yield f"| speed of the upload beside `cp && sync` | {copies / ours:.2f}x |"
    yield f"| growth of the web in an upload of {LARGE_BYTES / part / 1e9:.1f} GB, at most | {found.grown >> 20} MiB |"
    yield f"| {AT_ONCE} uploads of {EACH_BYTES / part / 1e6:,.0f} MB at once | {found.beside:.1f} s |"
    yield f"| a page meanwhile, of {len(pages)}, p50 / p95 | {p50:.0f} / {p95:.0f} ms |"


if __name__ == "__main__":
    main()
