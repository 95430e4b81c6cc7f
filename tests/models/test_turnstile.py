"""Writers of several threads and processes: each has its turn, and none waits behind one that comes again and again."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from peewee import OperationalError

from portal import models
from portal.models import Group, database, writing
from portal.settings import Settings

WRITER = """
import sys
from pathlib import Path
from portal import models, runtime, settings
from portal.models import Group, writing
runtime.start(settings.load(Path(sys.argv[1])))
for number in range(int(sys.argv[3])):
    with models.connection(), writing():
        Group.create(code=f"{sys.argv[2]}-{number}", label="written")
"""


def start_writer(settings: Settings, name: str, count: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}"}
    return subprocess.Popen([sys.executable, "-c", WRITER, str(settings.data), name, str(count)], env=environment)


def wait_until_locked(path: Path) -> None:
    for _ in range(2000):
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits for the database within 20 s")


def codes() -> list[str]:
    return [row.code for row in Group.select().order_by(Group.id)]


def test_who_ends_a_write_and_begins_another_comes_behind_a_process_that_waits(site: Settings) -> None:
    with writing():
        Group.create(code="first", label="written")
        other = start_writer(site, "other", 1)
        wait_until_locked(site.data / "portal.db-turnstile")
    with writing():
        Group.create(code="second", label="written")
    assert other.wait(20) == 0
    assert codes() == ["first", "other-0", "second"]


def test_the_same_among_threads(site: Settings) -> None:
    def write() -> None:
        with models.connection(), writing():
            Group.create(code="other", label="written")

    thread = threading.Thread(target=write)
    with writing():
        Group.create(code="first", label="written")
        thread.start()
        for _ in range(2000):
            if database.obj.turnstile._threads.locked():
                break
            threading.Event().wait(0.01)
    with writing():
        Group.create(code="second", label="written")
    thread.join(20)
    assert codes() == ["first", "other", "second"]


def test_processes_that_write_side_by_side_lose_nothing(site: Settings) -> None:
    writers = [start_writer(site, name, 50) for name in ("one", "two", "three")]
    for number in range(50):
        with writing():
            Group.create(code=f"ours-{number}", label="written")
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(codes()) == 200


def test_a_writer_that_waits_too_long_says_that_the_database_is_busy(site: Settings) -> None:
    models.bind(site.database, busy_ms=50)
    raised: list[BaseException] = []

    def write() -> None:
        try:
            with models.connection(), writing():
                Group.create(code="late", label="written")
        except OperationalError as error:
            raised.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    with models.connection(), writing():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert [models.is_busy(error) for error in raised] == [True, True, True]
    models.bind(site.database)
    with models.connection(), writing():
        Group.create(code="later", label="written")
        assert codes() == ["later"]


def test_a_child_that_is_forked_while_a_thread_waits_writes_too(site: Settings) -> None:
    database.obj.turnstile._threads.acquire()
    try:
        child = os.fork()
        if not child:
            database.obj.turnstile._threads.acquire(timeout=0) and os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        database.obj.turnstile._threads.release()


@pytest.mark.usefixtures("site")
def test_without_room_for_its_file_the_lock_of_the_database_is_enough(site: Settings) -> None:
    path = site.data / "portal.db-turnstile"
    path.unlink(missing_ok=True)
    path.mkdir()
    models.bind(site.database)
    with models.connection(), writing():
        Group.create(code="written", label="written")
        assert codes() == ["written"]
