"""Small files that processes of our own write, and what becomes of those that they do not."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from portal.models import Storage
from portal.storage import providers
from portal.storage_drivers.destination import SOURCE_DAMAGED, Content, Destination
from portal.storage_drivers.filesystem import destination as filesystem_destination
from portal.storage_drivers.filesystem import writer_processes
from portal.storage_drivers.store import FileExtent
from tests.fixtures.process_tree import children, command_of
from tests.fixtures.work import content_of, files_below, until


def has_open(process: int, folder: Path) -> bool:
    """Whether a process has files of a folder open that have no name yet."""
    with contextlib.suppress(FileNotFoundError):
        links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
        return any(link.startswith(str(folder)) and "/#" in link for link in links)
    return False


@pytest.fixture
def destination(mirror: Storage) -> Iterator[Destination]:
    """A folder, in a process that has no writer: a test before this one may have left some at rest."""
    writer_processes.stop_all()
    yield filesystem_destination.open_destination(
        mirror.config, mirror.prefix, {}, threads=4, allowed=providers.allowed_folders()
    )
    writer_processes.stop_all()


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A file in which the bytes of some objects lie, one after the other."""
    path = tmp_path / "segment"
    path.write_bytes(os.urandom(200_000))
    return path


def on_disk(segment: Path, key: str, offset: int, size: int = 3000) -> Content:
    """An object whose bytes lie in the segment, and come from nowhere else."""
    body = segment.read_bytes()[offset : offset + size]
    return replace(content_of(key, body), source=FileExtent(str(segment), offset), chunks=unasked)


def unasked() -> Iterator[bytes]:
    raise AssertionError("the thread has written it")


def writers_of(process: int | str = "self") -> set[int]:
    return {child for child in children(process) if b"writer_processes" in command_of(child)}


def test_content_on_a_disk_is_written_by_writers_whichever_thread_brings_it(
    destination: Destination, segment: Path, folder: Path
) -> None:
    bundles = [
        [
            *(on_disk(segment, f"{thread}/a/{number}", number * 1000) for number in range(20)),
            replace(content_of(f"{thread}/b/text", b"its own bytes"), source=b"its own bytes", chunks=unasked),
            on_disk(segment, f"{thread}/b/empty", 0, size=0),
        ]
        for thread in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda bundle: destination.deliver(bundle, overwrite=False), bundles))
    assert outcomes == [[None] * 22] * 4
    assert files_below(folder) == {content.key: content.digest for bundle in bundles for content in bundle}
    assert 1 <= len(writers_of()) <= writer_processes.MAX_WRITERS
    writer_processes.stop_all()
    assert writers_of() == set()


def test_what_a_writer_cannot_write_says_why_not_and_the_others_are_there(
    destination: Destination, segment: Path, folder: Path
) -> None:
    other = b"other"
    destination.put("a/other", [other], size=5, digest=hashlib.sha256(other).hexdigest())
    destination.put("a/same", [segment.read_bytes()[:3000]], size=3000, digest=on_disk(segment, "", 0).digest)
    body = segment.read_bytes()[:3000]
    gone = FileExtent(str(segment.with_name("gone")), 0)
    odd = [
        replace(content_of("a/same", body), source=FileExtent(str(segment), 0)),
        replace(content_of("a/other", body), source=FileExtent(str(segment), 0)),
        replace(content_of("a/other/below a file", body), source=FileExtent(str(segment), 0)),
        replace(content_of("b/damaged", body, digest="0" * 64), source=FileExtent(str(segment), 0)),
        replace(content_of("b/beyond the end", body), source=FileExtent(str(segment), 199_000)),
        replace(content_of("b/moved away", body), source=gone),
        replace(content_of("../evil", body), source=FileExtent(str(segment), 0)),
    ]
    contents = [*odd, *(on_disk(segment, f"c/{number}", number * 1000) for number in range(20))]
    errors = destination.deliver(contents, overwrite=False)
    told = {content.key: error.message for content, error in zip(contents, errors, strict=True) if error}
    assert told.pop("a/other").startswith("An object with different content has this key")
    assert "a link in place of a folder" in told.pop("a/other/below a file")
    assert told.pop("b/damaged") == SOURCE_DAMAGED
    assert told.pop("../evil").endswith("cannot be the name of an object.")
    assert told == {}
    arrived = files_below(folder)
    assert arrived.pop("a/other") == hashlib.sha256(other).hexdigest()
    assert set(arrived) == {"a/same", "b/beyond the end", "b/moved away", *(f"c/{number}" for number in range(20))}
    assert arrived == {content.key: content.digest for content in contents if content.key in arrived}


def test_a_writer_writes_in_place_of_what_is_there_where_it_shall(
    destination: Destination, segment: Path, folder: Path
) -> None:
    for offset in (0, 50_000):
        contents = [on_disk(segment, f"a/{number}", offset + number * 1000) for number in range(20)]
        assert destination.deliver(contents, overwrite=True) == [None] * 20
        assert files_below(folder) == {content.key: content.digest for content in contents}


def test_a_few_objects_or_one_that_must_be_fetched_start_no_writer(
    destination: Destination, segment: Path, folder: Path
) -> None:
    few = [replace(on_disk(segment, f"few/{n}", 0), chunks=lambda: [segment.read_bytes()[:3000]]) for n in range(3)]
    many = [content_of(f"many/{number}", b"from afar") for number in range(100)]
    assert destination.deliver(few, overwrite=False) == [None] * 3
    assert destination.deliver(many, overwrite=False) == [None] * 100
    assert len(files_below(folder)) == 103
    assert writers_of() == set()


def test_writers_begin_before_many_objects_come_and_not_before_a_few(
    destination: Destination, segment: Path, folder: Path
) -> None:
    destination.expect(999)
    assert writers_of() == set()
    destination.expect(1000)
    until(lambda: len(writers_of()) == writer_processes.MAX_WRITERS)
    begun = writers_of()
    contents = [on_disk(segment, f"a/{number}", number * 1000) for number in range(20)]
    assert destination.deliver(contents, overwrite=False) == [None] * 20
    destination.expect(1000)
    assert writers_of() == begun
    assert len(files_below(folder)) == 20


def bundle(segment: Path, name: str) -> list[Content]:
    """Objects whose bytes a writer has, and the thread too."""
    bodies = [segment.read_bytes()[number * 1000 :][:3000] for number in range(20)]
    return [replace(content_of(f"{name}/{number}", body), source=body) for number, body in enumerate(bodies)]


def test_a_writer_that_is_killed_in_the_middle_of_its_work_costs_nothing(
    destination: Destination, segment: Path, folder: Path, tmp_path: Path
) -> None:
    endless = tmp_path / "endless"
    os.mkfifo(endless)
    contents = bundle(segment, "a")
    contents[10].source = FileExtent(str(endless), 0)
    with ThreadPoolExecutor(1) as pool:
        delivered = pool.submit(destination.deliver, contents, overwrite=False)
        until(lambda: any(has_open(child, folder) for child in writers_of()))
        assert not delivered.done()
        assert files_below(folder) == {}
        for child in writers_of():
            os.kill(child, signal.SIGKILL)
        assert delivered.result() == [None] * 20
    assert files_below(folder) == {content.key: content.digest for content in contents}


def test_where_writers_are_killed_their_threads_write_what_is_left(
    destination: Destination, segment: Path, folder: Path
) -> None:
    bundles = [bundle(segment, str(number)) for number in range(3 * writer_processes.MAX_WRITERS)]
    assert destination.deliver(bundles[0], overwrite=False) == [None] * 20
    for each in bundles[1:]:
        for child in writers_of():
            os.kill(child, signal.SIGKILL)
        assert destination.deliver(each, overwrite=False) == [None] * 20
    assert files_below(folder) == {content.key: content.digest for each in bundles for content in each}
    assert writers_of() == set()


PARENT = """
import os, sys, time
from portal.storage_drivers.filesystem import writer_processes
from portal.storage_drivers.store import Content
from portal.storage_drivers.store import FileExtent
folder, digest, *files = sys.argv[1:]
on_disk = lambda file: Content(key=file, size=3000, digest=digest, chunks=tuple, source=FileExtent(file, 0))
objects = [(str(number), on_disk(file)) for number, file in enumerate(files)]
print(writer_processes.write(os.open(folder, os.O_RDONLY), objects, overwrite=False), flush=True)
time.sleep(600)
"""
"""A process that has a bundle written, and waits."""


def test_a_writer_ends_with_the_process_that_it_writes_for_however_that_ends(segment: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    files = [str(segment)] * writer_processes.MIN_OBJECTS
    command = [sys.executable, "-c", PARENT, str(folder), on_disk(segment, "", 0).digest, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().decode().strip() == str([True] * writer_processes.MIN_OBJECTS)
            [writer] = writers_of(process.pid)
        finally:
            process.kill()
    until(lambda: b"writer_processes" not in command_of(writer))
    assert len(files_below(folder)) == writer_processes.MIN_OBJECTS


@pytest.mark.parametrize("begun", ["", "writer_processes.start_all()\n"], ids=["at once", "begun before"])
def test_where_no_writer_can_be_started_nothing_is_said_to_be_there(begun: str, segment: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    full = "import resource, socket\nresource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\n"
    program = PARENT.replace("print(", f"base = os.open(folder, os.O_RDONLY)\n{full}{begun}print(").replace(
        "os.open(folder, os.O_RDONLY), objects", "base, objects"
    )
    files = [str(segment)] * writer_processes.MIN_OBJECTS
    command = [sys.executable, "-c", program.replace("time.sleep(600)", ""), str(folder), "0" * 64, *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, str([False] * writer_processes.MIN_OBJECTS)), ended.stderr
    assert files_below(folder) == {}


def test_an_orphan_names_nothing_any_more(segment: Path, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    endless = tmp_path / "endless"
    os.mkfifo(endless)
    files = [str(segment)] * writer_processes.MIN_OBJECTS + [str(endless)]
    command = [sys.executable, "-c", PARENT, str(folder), on_disk(segment, "", 0).digest, *files]
    with subprocess.Popen(command) as process:
        try:
            until(lambda: any(has_open(child, folder) for child in writers_of(process.pid)))
            [writer] = writers_of(process.pid)
        finally:
            process.kill()
    with endless.open("wb"):  # what it has waited for
        pass
    until(lambda: b"writer_processes" not in command_of(writer))
    assert files_below(folder) == {}


FORKED = """
child = os.fork()
mine = [(f"of {child}/{name}", content) for name, content in objects]
if child:
    assert os.waitpid(child, 0)[1] == 0
print(writer_processes.write(base, mine, overwrite=False), flush=True)
if not child:
    with open("/proc/thread-self/children") as own:
        os._exit(0 if own.read() else 1)
"""
"""What a process that was forked has written by a writer of its own, and then its parent by the one it had."""


def test_a_process_that_was_forked_leaves_the_writers_of_its_parent_alone(segment: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    begun = "base = os.open(folder, os.O_RDONLY)\nwriter_processes.start_all()\nprint("
    program = PARENT.replace("print(", begun, 1).replace("time.sleep(600)", FORKED)
    files = [str(segment)] * writer_processes.MIN_OBJECTS
    command = [sys.executable, "-c", program, str(folder), on_disk(segment, "", 0).digest, *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    answers = [str([True] * writer_processes.MIN_OBJECTS)] * 3
    assert (ended.returncode, ended.stdout.splitlines()) == (0, answers), ended.stderr
    assert len(files_below(folder)) == 3 * writer_processes.MIN_OBJECTS
