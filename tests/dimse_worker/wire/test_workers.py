import sys
import threading

import pytest

from dimse_worker.wire import workers
from dimse_worker.wire.workers import Workers
from tests.fixtures.dimse import until

pytestmark = pytest.mark.usefixtures("site")
ROUNDS = 1000


def running() -> int:
    return sum(thread.name == "association" for thread in threading.enumerate())


def test_no_task_waits_for_another_one_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever they come, as threads take tasks, become free, or end."""
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.001)
    pool = Workers(50)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(ROUNDS):
            both = threading.Barrier(2)  # each waits until the other one has begun
            ended = threading.Semaphore(0)

            def task(both: threading.Barrier = both, ended: threading.Semaphore = ended) -> None:
                both.wait(10)
                ended.release()

            assert pool.submit(task)
            assert pool.submit(task)
            assert ended.acquire(timeout=5)
            assert ended.acquire(timeout=5)
    finally:
        sys.setswitchinterval(interval)
    until(lambda: running() == 0, "all threads have ended")


def test_without_a_thread_of_the_system_a_task_is_refused_and_later_ones_are_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.1)
    pool, done = Workers(4), threading.Event()

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert not pool.submit(done.set)
    assert pool.submit(done.set)
    assert done.wait(10)
    until(lambda: running() == 0, "the thread has ended")
