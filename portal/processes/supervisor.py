"""`portal up`: starts the processes of a site, watches them, and stops them in order."""

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from portal import models, runtime
from portal.archive import ballast
from portal.jobs.queue import LANES
from portal.processes import health, valkey
from portal.processes.child_process import LONGEST_PAUSE, SERVING_PAUSE, Child
from portal.processes.liveness import Liveness
from portal.processes.logs import LogFile
from portal.settings import Settings

TICK_SECONDS = 0.25
BALLAST_SECONDS = 10.0
"""Between two looks whether the ballast can be made whole again."""
MAX_READS_AFTER_END = 100
NOT_READY_SECONDS = 10.0
"""Seconds without being ready after which it is said what is missing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `portal up` was asked to run."""

    host: str
    port: int
    listeners: int
    workers: int
    """Of each lane."""
    sample: bool

    @property
    def address(self) -> str:
        """`HOST:PORT`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address that a browser on this machine opens."""
        here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.address.rpartition(":")[0])  # noqa: S104
        return f"http://{here}:{self.port}"


class Supervisor:
    """The processes of one site. Its loop is one thread: a child is killed when the thread that started it ends."""

    def __init__(
        self,
        chosen: Settings,
        plan: Plan,
        say: Callable[[str], None],
        *,
        sample_peer: Callable[[], list[str] | None] = lambda: None,
    ) -> None:
        """`sample_peer`: title, host and port that the sample's peer serves on, once the sample is there."""
        self._chosen, self._plan, self._say = chosen, plan, say
        self._sample_peer = sample_peer
        self._selector = selectors.DefaultSelector()
        self._children: list[Child] = []
        self._signals = 0
        self._ready = False
        self._told = time.monotonic()
        self._look_due = 0.0
        self._ballast_due = 0.0
        self._liveness = Liveness(plan.url)
        self._killed: set[int] = set()

    def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP; returns when every process has ended."""
        self._listen_to_signals()
        with models.held_open():
            self._watch()

    def _watch(self) -> None:
        self._children = list(self._processes())
        self._say(f"Starting {', '.join(child.name for child in self._children)}. Logs: {self._chosen.data / 'logs'}")
        self._liveness.start(self._running)
        while not self._signals:
            self._start_due()
            self._pump(TICK_SECONDS)
            self._end_hanging()
            self._notice_ends()
            if not self._ready and time.monotonic() > self._look_due:
                self._look()
            if time.monotonic() > self._ballast_due:
                self._ballast_due = time.monotonic() + BALLAST_SECONDS
                ballast.refill(self._chosen)
        self._stop()

    def _processes(self) -> list[Child]:
        data = str(self._chosen.data)
        python = [sys.executable, "-P", "-m"]
        worker = [*python, "dimse_worker"]
        children = [] if self._chosen.redis_url else [self._child("valkey", valkey.command(self._socket()))]
        children.append(
            self._child(
                "web", [*python, "portal.processes.web_server", data, self._plan.address], longest_pause=SERVING_PAUSE
            )
        )
        listen = [*worker, "listen", "--data", data, "--children", str(self._plan.listeners)]
        children.append(self._child("listen", listen, patience=35, longest_pause=SERVING_PAUSE))
        for lane in LANES:
            work = [*worker, "work", "--lane", lane, "--data", data]
            for number in range(1, self._plan.workers + 1):
                children.append(self._child(f"work-{lane}-{number}", work, patience=20))
        if self._chosen.bucket:
            children.append(self._child("upload", [*python, "portal.processes.replication_process", data], patience=20))
        return children

    def _child(
        self, name: str, arguments: list[str], *, patience: float = 10, longest_pause: float = LONGEST_PAUSE
    ) -> Child:
        return Child(name, arguments, LogFile(self._log(name)), patience=patience, longest_pause=longest_pause)

    def _log(self, name: str) -> Path:
        folder = self._chosen.data / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / f"{name}.log"

    def _socket(self) -> str:
        """The private Valkey's socket; what a killed run left there is removed: by our lock, nobody uses it."""
        path = Path(runtime.valkey_socket(self._chosen))
        path.unlink(missing_ok=True)
        return str(path)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _pump(self, seconds: float) -> bool:
        """Log what the processes say; a signal or an end wakes it. False if nothing was there for so long."""
        ready = self._selector.select(seconds)
        for key, _events in ready:
            if key.data is None:
                os.read(key.fd, 4096)
                continue
            said = key.data.read(key.fd)
            if said is None:
                self._selector.unregister(key.fd)
                os.close(key.fd)
            elif key.data.log is None:
                sys.stdout.buffer.write(said)
                sys.stdout.flush()
        return bool(ready)

    def _running(self) -> dict[str, int]:
        """The process id of each that runs, by its name."""
        return {child.name: process.pid for child in list(self._children) if (process := child.process)}

    def _end_hanging(self) -> None:
        """Kill what gives no sign of life any more; it is started again like any other that has ended."""
        for child in self._children:
            pid = child.process.pid if child.process else None
            if pid is None or pid in self._killed or (silence := self._liveness.silence(child.name, pid)) is None:
                continue
            self._killed.add(pid)
            self._say(f"{child.name} (process {pid}) has not answered for {silence:.0f} s. It is killed.")
            child.signal(signal.SIGKILL)

    def _notice_ends(self) -> None:
        ended = [(child, code) for child in self._children if (code := child.ended()) is not None]
        if ended:
            self._hear_the_rest()
        for child, code in ended:
            if child.name == "sample":
                self._announce(complete=code == 0)
            elif child.due is not None:
                pause = child.due - time.monotonic()
                self._say(
                    f"{child.name} has ended ({_in_words(code)}){_last(child)} It is started again in {pause:.0f} s."
                )

    def _hear_the_rest(self) -> None:
        """What a process said before its end is still in the pipe."""
        for _ in range(MAX_READS_AFTER_END):
            if not self._pump(0):
                return

    def _look(self) -> None:
        """Go on once everything can be used; say now and then what is missing."""
        if not all(child.is_up for child in self._children):
            return
        listener = next(child.process.pid for child in self._children if child.name == "listen" and child.process)
        problems = health.problems(self._plan.url, listener=listener)
        if not problems:
            self._become_ready()
        elif time.monotonic() > self._told + NOT_READY_SECONDS:
            self._told = time.monotonic()
            self._say(f"Not ready yet: {' '.join(problems)}")
            self._look_due = time.monotonic() + NOT_READY_SECONDS / 2

    def _become_ready(self) -> None:
        self._ready = True
        if not self._plan.sample:
            return self._announce(complete=True)
        arguments = [sys.executable, "-P", "-m", "portal.sample", str(self._chosen.data), self._plan.url]
        self._children.append(Child("sample", arguments, log=None, once=True))
        return None

    def _announce(self, *, complete: bool) -> None:
        if not complete:
            self._say("The sample site is not as it should be; the lines above say where. The site runs all the same.")
        elif self._plan.sample and (peer := self._sample_peer()):
            arguments = [sys.executable, "-P", "-m", "dimse_worker.sample_peer", "serve", *peer]
            self._children.append(self._child("sample-peer", arguments))
        self._say(f"Portico is ready: {self._plan.url}")

    def _stop(self) -> None:
        """The web first, so that nothing new is asked for; Valkey last, so that the workers can say good-bye."""
        self._say("Stopping. Once more Ctrl-C stops at once.")
        for names in (("web", "sample"), ("listen", "work", "upload"), ("valkey",)):
            self._stop_group([child for child in self._children if child.name.startswith(names)])
        self._say("Stopped.")

    def _stop_group(self, group: list[Child]) -> None:
        for child in group:
            child.ask_to_end()
        asked, signals = time.monotonic(), self._signals
        while running := [child for child in group if child.ended() is None and child.process]:
            self._pump(TICK_SECONDS)
            for child in running:
                if time.monotonic() - asked > child.patience or self._signals > signals:
                    child.signal(signal.SIGKILL)

    def _listen_to_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _last(child: Child) -> str:
    return f': "{child.last_line}".' if child.last_line else "."
