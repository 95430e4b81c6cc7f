"""Brings closed segments to the bucket: `python -m portal.processes.replication_process DATA`, under `portal up`."""

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
"""Seconds between two looks at what is closed."""
NICENESS = 10


class _Stopped(Exception):
    """Somebody asked the process to end."""


def run(stop: threading.Event) -> None:
    """Upload until told to stop. Of two on one site the second waits: the first may be about to end."""
    bucket = runtime.bucket()
    if bucket is None:
        return

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    uploader = Replicator(bucket, check)
    with (runtime.current().run / "uploader.lock").open("w") as lock:
        while not _locked(lock.fileno()):
            if stop.wait(PAUSE_SECONDS):
                return
        with runtime.connection():
            uploader.begin()
        while not stop.is_set():
            _turn(uploader)
            stop.wait(PAUSE_SECONDS)


def _turn(uploader: Replicator) -> None:
    try:
        with runtime.connection():
            uploader.turn()
    except _Stopped:
        log.info("stopped in the middle; the next run goes on")
    except (DatabaseError, OSError) as error:
        log.warning("nothing could be uploaded: %s", error)
    except Exception:  # one segment keeps no other from being brought in a later turn
        log.exception("nothing could be uploaded")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
