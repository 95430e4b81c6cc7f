"""Pauses a requestor's own thread before a request is sent, so that it cannot take the response off the queue."""

import threading

from pynetdicom.association import Association

POLL_SECONDS = 0.05


class ReactorPause(threading.Event):
    """pynetdicom's pause, which returns only once the other thread has really stopped.

    pynetdicom 3.0.4 checks `_is_paused` for that, which is also true for a moment in each round of the thread: under
    load the thread continued, took the response off the queue, and the request timed out (pynetdicom issue 435).
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__()
        self._assoc = assoc
        self._change = threading.Condition()
        self._paused = False
        super().set()

    def set(self) -> None:
        with self._change:
            super().set()
            self._change.notify_all()

    def clear(self) -> None:
        """Return when the association's thread is paused or has ended."""
        with self._change:
            super().clear()
            while not self._paused and self._assoc.is_alive() and threading.current_thread() is not self._assoc:
                self._change.wait(POLL_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """Block the association's thread until `set`."""
        with self._change:
            while not self.is_set():
                self._paused = True
                self._change.notify_all()
                self._change.wait(timeout)
            self._paused = False
        return True


def install(assoc: Association) -> None:
    """Replace the pause of an association that we have requested; call it before its first request."""
    assoc._reactor_checkpoint = ReactorPause(assoc)
