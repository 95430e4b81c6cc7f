"""Threads that do the same to many tasks at once, a few of which are handed out at any moment."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from portal import models

TASKS_PER_THREAD = 2
"""Tasks handed out for each thread, so that none waits for the next one."""
POLL_SECONDS = 0.2

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class ThreadPool(Generic[Task, Outcome]):
    """Each thread has a database connection of its own; what `work` raises is raised again by `outcomes`.

    There are as many threads as `threads` says, which is called again with each outcome; `ahead` tasks for each of them
    are handed out, including the one that it works on.
    """

    def __init__(
        self, threads: Callable[[], int], work: Callable[[Task], Outcome], *, ahead: int = TASKS_PER_THREAD
    ) -> None:
        self._wanted = threads
        self._work = work
        self._ahead = ahead
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._handed_out = 0
        self._stopping = threading.Event()
        self._size = 0
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
        """Whether a task that takes long is to be left."""
        return self._stopping.is_set()

    def outcomes(self, tasks: Iterator[Task], check: Callable[[], None]) -> Iterator[Outcome]:
        """Do all tasks, and yield each outcome when it is there, in any order; `check` may raise between them."""
        is_more = True
        while is_more or self._handed_out:
            check()
            self._resize()
            while is_more and self._handed_out < self._size * self._ahead:
                task = next(tasks, None)
                is_more = task is not None
                if task is not None:
                    self._handed_out += 1
                    self._tasks.put(task)
            if not self._handed_out:
                continue
            try:
                outcome = self._ended.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            self._handed_out -= 1
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome

    def stop(self) -> list[Outcome]:
        """Begin no more tasks and wait for those begun; returns the outcomes that `outcomes` has not yielded yet."""
        self._stopping.set()
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        ended = []
        while not self._ended.empty():
            outcome = self._ended.get()
            if not isinstance(outcome, BaseException):
                ended.append(outcome)
        return ended

    def __enter__(self) -> Self:
        self._resize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def _resize(self) -> None:
        """Start threads that are missing; those that are too many end when the tasks handed out before are done."""
        number = self._wanted()
        if number == self._size:
            return
        for _thread in range(number, self._size):
            self._tasks.put(None)
        alive = [thread for thread in self._threads if thread.is_alive()]
        begun = [threading.Thread(target=self._run, name="thread pool") for _thread in range(self._size, number)]
        self._size, self._threads = number, alive + begun
        for thread in begun:
            thread.start()

    def _run(self) -> None:
        try:
            with models.connection():
                while (task := self._tasks.get()) is not None:
                    if self.is_stopping:
                        continue
                    try:
                        self._ended.put(self._work(task))
                    except BaseException as error:  # noqa: BLE001 (`outcomes` raises it)
                        self._ended.put(error)
        except BaseException as error:  # noqa: BLE001 (`outcomes` raises it: the thread has no connection)
            self._ended.put(error)
