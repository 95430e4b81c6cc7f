"""The DIMSE listener: follows the site's settings, binds the port, and keeps the processes that serve it."""

import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from peewee import PeeweeException

from dimse_worker.heartbeat import Heartbeat
from dimse_worker.server import DRAIN_SECONDS, SIGNALS, is_told_to_stop, serve
from dimse_worker.wire.admissions import Admissions
from portal import parent_death, runtime, site_settings
from portal.peers import associations, listener_status
from portal.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LISTEN_BACKLOG = 256
CHILD_STOP_SECONDS = DRAIN_SECONDS + 3.0
MAX_FILES = 16_384
"""Open files of a process, where the system allows that: an association has a socket, and some of the database."""
HANGING_SECONDS = 20.0
"""Seconds without a heartbeat after which a child is killed; it gives five a second."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    is_tls: bool = False


@dataclass
class BoundSocket:
    """A listening socket and the processes that accept on it."""

    address: Address
    listening: socket.socket
    children: set[int] = field(default_factory=set)
    heartbeats: dict[int, Heartbeat] = field(default_factory=dict)
    """By the child's process id."""


class Listener:
    """The parent process: one thread, no database connection across a fork, no socket while DIMSE is disabled."""

    def __init__(self, children: int) -> None:
        self._wanted_children = children
        self._bound: dict[Address, BoundSocket] = {}
        """The port for clear text, and that for TLS, each with processes of its own."""
        self._draining: dict[int, float] = {}
        self._admissions = Admissions()
        self._numbers: dict[int, int] = {}
        """Process id of each child → its number among the admissions."""
        self._failed: set[Address] = set()
        """Where listening failed, which is reported once."""

    def __enter__(self) -> Self:
        listener_status.record()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every child finish its associations, and wait for all of them."""
        for address in list(self._bound):
            self._release(address)
        while self._draining:
            signal.sigtimedwait({signal.SIGCHLD}, POLL_SECONDS)
            self._reap()

    def follow(self) -> None:
        """Check the settings and the children once: bind, release, and start children as needed."""
        listener_status.beat()
        self._reap()
        for bound in self._bound.values():
            for child, heartbeat in bound.heartbeats.items():
                if heartbeat.silence > HANGING_SECONDS:
                    log.error("process %d has not accepted anything for %.0f s; it is killed", child, heartbeat.silence)
                    os.kill(child, signal.SIGKILL)  # `_reap` sees that it ended, and another one takes its place

        wanted = self._read_settings()
        for address in [address for address in self._bound if address not in wanted]:
            self._release(address)
        for address in [address for address in wanted if address not in self._bound]:
            self._bind(address)
        for bound in self._bound.values():
            while len(bound.children) < self._wanted_children:
                parent, heartbeat, number = os.getpid(), Heartbeat(), self._admissions.take_number()
                child = os.fork()
                if child == 0:
                    self._admissions.begin(number)
                    for other in self._bound.values():
                        if other is not bound:  # else that port stays in use as long as this process runs
                            other.listening.close()
                    os._exit(_serve(parent, bound, heartbeat, self._admissions))
                self._numbers[child] = number
                bound.children.add(child)
                bound.heartbeats[child] = heartbeat

    def _read_settings(self) -> tuple[Address, ...]:
        """The addresses that the site wants us to listen on; unchanged while the database cannot be read."""
        try:
            with runtime.connection():
                associations.mark_lost()
                options = site_settings.get_all()
        except PeeweeException as error:
            log.warning("the settings could not be read: %s", error)
            return tuple(self._bound)
        host, port, tls_port = options["dimse.host"], options["dimse.port"], options["dimse.tls_port"]
        if not options["dimse.enabled"]:
            return ()
        return (Address(host, port), Address(host, tls_port, is_tls=True)) if tls_port else (Address(host, port),)

    def _bind(self, address: Address) -> None:
        """Listen. After a failure, which is reported once, the next `follow` tries again."""
        try:
            family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
            listening = socket.create_server((address.host, address.port), family=family, backlog=LISTEN_BACKLOG)
        except (OSError, UnicodeError) as error:
            if address not in self._failed:
                log.error("cannot listen on %s port %d: %s", address.host, address.port, error)
                listener_status.record(address.host, address.port, error, is_tls=address.is_tls)
            self._failed.add(address)
            return
        self._failed.discard(address)
        log.info("listening on %s port %d", address.host, address.port)
        self._bound[address] = BoundSocket(address, listening)
        listener_status.record(address.host, address.port, is_tls=address.is_tls)

    def _release(self, address: Address) -> None:
        """Close the socket, and let its children finish their associations."""
        bound = self._bound.pop(address)
        log.info("no longer listening on %s port %d", address.host, address.port)
        bound.listening.close()
        for child in bound.children:
            os.kill(child, signal.SIGTERM)
            self._draining[child] = time.monotonic() + CHILD_STOP_SECONDS
        listener_status.record(is_tls=address.is_tls)

    def _reap(self) -> None:
        """Forget children that have ended; kill those that have not ended in time."""
        serving = {child: bound for bound in self._bound.values() for child in bound.children}
        for child in [*serving, *self._draining]:
            ended, code = os.waitpid(child, os.WNOHANG)
            if not ended:
                continue
            self._admissions.give_back(self._numbers.pop(child))
            if bound := serving.get(child):
                log.error("process %d ended by itself (%d)", child, os.waitstatus_to_exitcode(code))
                bound.children.discard(child)
                bound.heartbeats.pop(child, None)
            self._draining.pop(child, None)
        for child, deadline in self._draining.items():
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)


def main(settings: Settings, children: int = 1) -> None:
    """Listen as the site's settings say, until SIGTERM or SIGINT; then finish what runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    runtime.start(settings)
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(few, wanted), most))
    gc.freeze()  # the collector of a child would look through all that is loaded here, and thereby copy it
    with Listener(children) as listener:
        while True:
            listener.follow()
            if is_told_to_stop(POLL_SECONDS):
                break


def _serve(parent: int, bound: BoundSocket, heartbeat: Heartbeat, admissions: Admissions) -> int:
    """The child's main function; returns its exit code. The child is killed when its parent ends, to free the port."""
    try:
        parent_death.die_with_parent(parent)
        serve(bound.listening, heartbeat, admissions, is_tls=bound.address.is_tls)
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
