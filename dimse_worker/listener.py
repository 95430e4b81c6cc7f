"""The DIMSE listener: follows the site's settings, binds the port, and keeps the processes that serve it."""

import gc
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from peewee import PeeweeException

from dimse_worker.heartbeat import Heartbeat
from dimse_worker.server import DRAIN_SECONDS, SIGNALS, serve
from portal import parent_death, runtime, site_settings
from portal.peers import associations, listener_status
from portal.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LISTEN_BACKLOG = 256
CHILD_STOP_SECONDS = DRAIN_SECONDS + 3.0
HANGING_SECONDS = 20.0
"""A child that has not looked for associations for so long hangs; it does five times a second."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass
class BoundSocket:
    """A listening socket and the processes that accept on it."""

    address: Address
    listening: socket.socket
    children: set[int] = field(default_factory=set)
    beats: dict[int, Heartbeat] = field(default_factory=dict)
    """The heartbeat of each child, by its process id."""


class Listener:
    """The parent: one thread, no database connection across a fork, no socket while DIMSE is disabled."""

    def __init__(self, children: int) -> None:
        self._wanted_children = children
        self._bound: BoundSocket | None = None
        self._draining: dict[int, float] = {}
        self._complained: Address | None = None

    def __enter__(self) -> Self:
        listener_status.record()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have every child drain, and wait for them."""
        self._release()
        while self._draining:
            signal.sigtimedwait({signal.SIGCHLD}, POLL_SECONDS)
            self._reap()

    def follow(self) -> None:
        """One look at the settings and at the children."""
        listener_status.beat()
        self._reap()
        self._end_hanging()
        wanted = self._look()
        if self._bound is not None and wanted != self._bound.address:
            self._release()
        if self._bound is None and wanted is not None:
            self._bind(wanted)
        if self._bound is not None:
            while len(self._bound.children) < self._wanted_children:
                self._fork(self._bound)

    def _look(self) -> Address | None:
        """Where the site wants us to listen; as before where the database cannot be read now."""
        try:
            with runtime.connection():
                associations.mark_lost()
                options = site_settings.get_all()
        except PeeweeException as error:
            log.warning("the settings could not be read: %s", error)
            return self._bound.address if self._bound else None
        return Address(options["dimse.host"], options["dimse.port"]) if options["dimse.enabled"] else None

    def _bind(self, address: Address) -> None:
        """Listen; where that fails, say so once and try again with the next look."""
        try:
            bound = _listen(address)
        except (OSError, UnicodeError) as error:
            if self._complained != address:
                log.error("cannot listen on %s port %d: %s", address.host, address.port, error)
                listener_status.record(address.host, address.port, error)
            self._complained = address
            return
        self._complained = None
        log.info("listening on %s port %d", address.host, address.port)
        self._bound = BoundSocket(address, bound)
        listener_status.record(address.host, address.port)

    def _release(self) -> None:
        """Close the socket, and have its processes drain."""
        if self._bound is None:
            return
        log.info("no longer listening on %s port %d", self._bound.address.host, self._bound.address.port)
        self._bound.listening.close()
        for child in self._bound.children:
            os.kill(child, signal.SIGTERM)
            self._draining[child] = time.monotonic() + CHILD_STOP_SECONDS
        self._bound = None
        listener_status.record()

    def _fork(self, bound: BoundSocket) -> None:
        parent = os.getpid()
        heartbeat = Heartbeat()
        child = os.fork()
        if child == 0:
            os._exit(_serve(parent, bound.listening, heartbeat))
        bound.children.add(child)
        bound.beats[child] = heartbeat

    def _end_hanging(self) -> None:
        """Kill children that no longer accept; others take their place."""
        for child, heartbeat in self._bound.beats.items() if self._bound else ():
            if heartbeat.silence > HANGING_SECONDS:
                log.error("process %d has not accepted anything for %.0f s; it is killed", child, heartbeat.silence)
                os.kill(child, signal.SIGKILL)

    def _reap(self) -> None:
        """Take note of children that ended; kill those that do not end."""
        serving = self._bound.children if self._bound else set()
        for child in [*serving, *self._draining]:
            ended, code = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            if child in serving:
                log.error("process %d ended by itself (%d)", child, os.waitstatus_to_exitcode(code))
            serving.discard(child)
            if self._bound:
                self._bound.beats.pop(child, None)
            self._draining.pop(child, None)
        for child, deadline in self._draining.items():
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)


def main(settings: Settings, children: int = 1) -> None:
    """Listen as the site's settings say, until SIGTERM or SIGINT; then drain."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    runtime.start(settings)
    gc.freeze()  # a child need not look through what was loaded before its fork, which would copy it, too
    with Listener(children) as listener:
        while True:
            listener.follow()
            caught = signal.sigtimedwait(SIGNALS, POLL_SECONDS)
            if caught is not None and caught.si_signo != signal.SIGCHLD:
                break


def _listen(address: Address) -> socket.socket:
    family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((address.host, address.port), family=family, backlog=LISTEN_BACKLOG)


def _serve(parent: int, listening: socket.socket, heartbeat: Heartbeat) -> int:
    """The child; returns its exit code. It is killed when its parent ends, so that the next one finds the port free."""
    try:
        parent_death.die_with_parent(parent)
        serve(listening, heartbeat)
    except SystemExit:
        return 1
    except BaseException:
        log.exception("process %d failed", os.getpid())
        return 1
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
