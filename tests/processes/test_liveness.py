"""Which processes of a site hang: real ones are stopped, and the clock of who looks is the test's."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from portal.jobs import queue as job_queue
from portal.processes import health
from portal.processes.liveness import LOOK_SECONDS, MAX_GAP_SECONDS, MAX_SILENCE_SECONDS, Liveness
from tests.fixtures.dimse import Listener
from tests.fixtures.work import Process, Valkey, until

WORKER = "work-short-1"


@dataclass
class Watch:
    """What `portal up` finds out about one process as time goes by."""

    name: str
    pid: int
    passed: float = 0.0
    liveness: Liveness = field(init=False)

    def __post_init__(self) -> None:
        self.liveness = Liveness("http://127.0.0.1:9")

    def look(self) -> None:
        self.liveness.look({self.name: self.pid})

    def after(self, seconds: float) -> float | None:
        """For how long it is said to hang, once so much time has gone by with looks as usual."""
        end = self.passed + seconds
        while self.passed < end:
            self.passed += LOOK_SECONDS
            self.look()
        return self.liveness.silence(self.name, self.pid)


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Watch]:
    def begin(name: str, pid: int) -> Watch:
        watch = Watch(name, pid)
        monkeypatch.setattr("portal.processes.liveness.monotonic", lambda: watch.passed)
        watch.look()
        return watch

    return begin


def registered(worker: Process) -> bool:
    return worker.pid in (job_queue.heartbeats() or {})


def test_a_worker_that_is_stopped_hangs_until_it_goes_on(
    worker: Process, watching: Callable[[str, int], Watch]
) -> None:
    until(lambda: registered(worker), process=worker)
    watch = watching(WORKER, worker.pid)
    worker.send(signal.SIGSTOP)
    watch.look()
    assert watch.after(MAX_SILENCE_SECONDS["work"] - LOOK_SECONDS) is None
    assert watch.after(3 * LOOK_SECONDS) is not None
    before = job_queue.heartbeats()
    worker.send(signal.SIGCONT)
    until(lambda: job_queue.heartbeats() != before, process=worker)
    assert watch.after(LOOK_SECONDS) is None


def test_no_worker_is_blamed_for_a_queue_that_does_not_answer(
    worker: Process, queue: Valkey, watching: Callable[[str, int], Watch]
) -> None:
    until(lambda: registered(worker), process=worker)
    watch = watching(WORKER, worker.pid)
    queue.kill()
    assert watch.after(3 * MAX_SILENCE_SECONDS["work"]) is None


def test_a_valkey_that_is_stopped_hangs(queue: Valkey, watching: Callable[[str, int], Watch]) -> None:
    watch = watching("valkey", queue.pid)
    queue.kill()
    assert watch.after(MAX_SILENCE_SECONDS["valkey"] - LOOK_SECONDS) is None
    assert watch.after(2 * LOOK_SECONDS) is not None


def test_a_listener_that_is_stopped_hangs(listener: Listener, watching: Callable[[str, int], Watch]) -> None:
    watch = watching("listen", listener.process.pid)
    listener.process.send_signal(signal.SIGSTOP)
    watch.look()
    assert watch.after(MAX_SILENCE_SECONDS["listen"] - LOOK_SECONDS) is None
    assert watch.after(2 * LOOK_SECONDS) is not None
    listener.process.send_signal(signal.SIGCONT)


def test_a_process_that_has_not_given_a_sign_yet_is_starting(
    queue: Valkey, watching: Callable[[str, int], Watch]
) -> None:
    assert watching("web", queue.pid).after(10 * MAX_SILENCE_SECONDS["web"]) is None


def test_nobody_is_blamed_for_a_machine_that_stood_still(queue: Valkey, watching: Callable[[str, int], Watch]) -> None:
    watch = watching("valkey", queue.pid)
    queue.kill()
    watch.passed += 100 * MAX_GAP_SECONDS
    assert watch.liveness.silence("valkey", queue.pid) is None
    watch.look()
    assert watch.liveness.silence("valkey", queue.pid) is None


def test_status_names_a_worker_whose_heart_does_not_beat(
    worker: Process, watching: Callable[[str, int], Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: registered(worker), process=worker)
    assert health.report()["queue"]["problem"] == ""
    late = job_queue.now() + 2 * job_queue.HEARTBEAT_TIMEOUT
    monkeypatch.setattr(job_queue, "now", lambda: late)
    assert f"A worker (process {worker.pid}) does not answer." in health.report()["queue"]["problem"]


def test_status_does_not_name_a_worker_that_was_killed(worker: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    until(lambda: registered(worker), process=worker)
    worker.kill()
    worker.wait()
    late = job_queue.now() + 2 * job_queue.HEARTBEAT_TIMEOUT
    monkeypatch.setattr(job_queue, "now", lambda: late)
    assert worker.pid in (job_queue.heartbeats() or {}), "the queue has not forgotten it yet"
    assert job_queue.silent_workers() == []
