"""Replicates closed segments to the bucket: `python -m portal.processes.replication_process DATA`."""

import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from peewee import DatabaseError

from portal import runtime, settings
from portal.errors import PortalError
from portal.maintenance.replication import Replicator
from portal.processes import logs

log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""Seconds between two turns."""
NICENESS = 10


class _Stopped(Exception):
    """The process was asked to end."""


def run(stop: threading.Event) -> None:
    """Replicate until told to stop. Of two on one site the second waits: the first may be about to end."""
    bucket = runtime.bucket()
    if bucket is None:
        return

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    replicator = Replicator(bucket, check)
    with (runtime.current().run / "uploader.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(PAUSE_SECONDS):
                    return
        with runtime.connection():
            replicator.begin()
        while not stop.is_set():
            try:
                with runtime.connection():
                    replicator.turn()
            except _Stopped:
                log.info("stopped in the middle; the next run continues")
            except (DatabaseError, OSError) as error:
                log.warning("nothing could be replicated: %s", error)
            except Exception:  # one segment must not keep the others from being replicated in a later turn
                log.exception("nothing could be replicated")
            stop.wait(PAUSE_SECONDS)


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    logs.start()
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    os.umask(0o077)
    os.nice(NICENESS)
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        runtime.start(settings.load(Path(arguments[0])))
        run(stop)
    except PortalError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
