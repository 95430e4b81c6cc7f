"""Pausing a requestor's own thread before a request is sent, so that it cannot take the answer away."""

import threading

from pynetdicom.association import Association

POLL_SECONDS = 0.05


class ReactorPause(threading.Event):
    """pynetdicom's pause, which waits until the other thread really stands still.

    pynetdicom 3.0.4 takes `_is_paused` for that, which is also true for a moment in each round of the thread: under
    load it went on, took the answer off the queue, and the request waited in vain (pynetdicom issue 435).
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__()
        self._assoc = assoc
        self._change = threading.Condition()
        self._parked = False
        super().set()

    def set(self) -> None:
        with self._change:
            super().set()
            self._change.notify_all()

    def clear(self) -> None:
        """Return when the association's thread stands still, or is no more."""
        with self._change:
            super().clear()
            while not self._parked and self._assoc.is_alive() and threading.current_thread() is not self._assoc:
                self._change.wait(POLL_SECONDS)

    def wait(self, timeout: float | None = None) -> bool:
        """The association's thread stands still here, until it is to go on."""
        with self._change:
            while not self.is_set():
                self._parked = True
                self._change.notify_all()
                self._change.wait(timeout)
            self._parked = False
        return True


def install(assoc: Association) -> None:
    """Give an association that we have requested a pause that holds; before its first request."""
    assoc._reactor_checkpoint = ReactorPause(assoc)
