"""Threads that do the same to many things at once, a few of which are in hand at any moment."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from portal import models

TASKS_PER_THREAD = 2
"""Things in hand for each thread, so that none waits for the next one."""
POLL_SECONDS = 0.2

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class ThreadPool(Generic[Task, Outcome]):
    """What `work` raises is raised to who asks for the outcomes. Each thread has a database connection of its own.

    There are as many threads as `number` says, which is asked for again with each outcome; `ahead` things for each of
    them are in hand, the one that is worked on among them.
    """

    def __init__(
        self, number: Callable[[], int], work: Callable[[Task], Outcome], *, ahead: int = TASKS_PER_THREAD
    ) -> None:
        self._number = number
        self._work = work
        self._ahead = ahead
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._in_hand = 0
        self._stopping = threading.Event()
        self._size = 0
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
        """Whether what is begun is to be left: for work that takes long."""
        return self._stopping.is_set()

    def outcomes(self, tasks: Iterator[Task], check: Callable[[], None]) -> Iterator[Outcome]:
        """Do all tasks, and yield each outcome when it is there, in any order; `check` may raise between them."""
        is_more = True
        while is_more or self._in_hand:
            check()
            self._resize()
            while is_more and self._in_hand < self._size * self._ahead:
                task = next(tasks, None)
                is_more = task is not None
                if task is not None:
                    self._in_hand += 1
                    self._tasks.put(task)
            if self._in_hand:
                yield from self._one()

    def stop(self) -> list[Outcome]:
        """Begin nothing more and wait for what is in hand; returns what has ended well since it was last asked for."""
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
        """Start threads that lack; those that are too many end when what was handed out before is done."""
        number = self._number()
        if number == self._size:
            return
        for _thread in range(number, self._size):
            self._tasks.put(None)
        alive = [thread for thread in self._threads if thread.is_alive()]
        begun = [threading.Thread(target=self._run, name="crew") for _thread in range(self._size, number)]
        self._size, self._threads = number, alive + begun
        for thread in begun:
            thread.start()

    def _one(self) -> Iterator[Outcome]:
        try:
            outcome = self._ended.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        self._in_hand -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        yield outcome

    def _run(self) -> None:
        try:
            with models.connection():
                self._work_on()
        except BaseException as error:  # noqa: BLE001 (nobody else would hear of a thread without a connection)
            self._ended.put(error)

    def _work_on(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.is_stopping:
                continue
            try:
                self._ended.put(self._work(task))
            except BaseException as error:  # noqa: BLE001 (it is raised to who waits for the outcome)
                self._ended.put(error)
