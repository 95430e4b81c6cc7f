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
"""Seconds between two tries to make the ballast whole again."""
MAX_READS_AFTER_END = 100
NOT_READY_SECONDS = 10.0
"""Seconds without being ready after which the reason is printed."""


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
    """The processes of one site. Its loop is a single thread: a child dies with the thread that started it."""

    def __init__(
        self,
        chosen: Settings,
        plan: Plan,
        say: Callable[[str], None],
        *,
        sample_peer: Callable[[], list[str] | None] = lambda: None,
    ) -> None:
        """`sample_peer`: AE title, host and port of the sample's peer; None before the sample exists."""
        self._chosen, self._plan, self._say = chosen, plan, say
        self._sample_peer = sample_peer
        self._selector = selectors.DefaultSelector()
        self._children: list[Child] = []
        self._signals = 0
        self._ready = False
        self._reported = time.monotonic()
        self._check_due = 0.0
        self._ballast_due = 0.0
        self._liveness = Liveness(plan.url)
        self._killed: set[int] = set()

    def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP; returns when every process has ended."""
        self._listen_to_signals()
        with models.held_open():
            self._children = self._processes()
            names = ", ".join(child.name for child in self._children)
            self._say(f"Starting {names}. Logs: {self._chosen.data / 'logs'}")
            self._liveness.start(self.running)
            while not self._signals:
                now = time.monotonic()
                for child in self._children:
                    if child.due is not None and child.due <= now:
                        self._selector.register(child.start(), selectors.EVENT_READ, child)
                self._pump(TICK_SECONDS)
                self._kill_hanging()
                self._report_ends()
                if not self._ready and time.monotonic() > self._check_due:
                    self._check_ready()
                if time.monotonic() > self._ballast_due:
                    self._ballast_due = time.monotonic() + BALLAST_SECONDS
                    ballast.refill(self._chosen)

            # The web server first, so that no new work arrives; Valkey last, so that the workers can sign off.
            self._say("Stopping. Press Ctrl-C again to stop at once.")
            for prefixes in (("web", "sample"), ("listen", "work", "replicate"), ("valkey",)):
                self._stop_group([child for child in self._children if child.name.startswith(prefixes)])
            self._say("Stopped.")

    def running(self) -> dict[str, int]:
        """The process id of each process that runs, by its name; for any thread."""
        return {child.name: process.pid for child in list(self._children) if (process := child.process)}

    def _processes(self) -> list[Child]:
        data = str(self._chosen.data)
        python = [sys.executable, "-P", "-m"]
        worker = [*python, "dimse_worker"]
        children = []
        if not self._chosen.redis_url:
            # A killed run may have left its socket. Nobody uses it: this process holds the site's lock.
            socket = Path(runtime.valkey_socket(self._chosen))
            socket.unlink(missing_ok=True)
            children.append(self._child("valkey", valkey.command(str(socket))))
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
            replicate = [*python, "portal.processes.replication_process", data]
            children.append(self._child("replicate", replicate, patience=20))
        return children

    def _child(
        self, name: str, arguments: list[str], *, patience: float = 10, longest_pause: float = LONGEST_PAUSE
    ) -> Child:
        folder = self._chosen.data / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        log = LogFile(folder / f"{name}.log")
        return Child(name, arguments, log, patience=patience, longest_pause=longest_pause)

    def _pump(self, seconds: float) -> bool:
        """Log the output of the processes for up to `seconds`; a signal or an end wakes it. False if there was none."""
        ready = self._selector.select(seconds)
        for key, _events in ready:
            if key.data is None:
                os.read(key.fd, 4096)
                continue
            output = key.data.read(key.fd)
            if output is None:
                self._selector.unregister(key.fd)
                os.close(key.fd)
            elif key.data.log is None:
                sys.stdout.buffer.write(output)
                sys.stdout.flush()
        return bool(ready)

    def _kill_hanging(self) -> None:
        """Kill processes that give no sign of life; they are restarted like others that have exited."""
        for child in self._children:
            pid = child.process.pid if child.process else None
            if pid is None or pid in self._killed or (silence := self._liveness.silence(child.name, pid)) is None:
                continue
            self._killed.add(pid)
            self._say(f"{child.name} (process {pid}) has not answered for {silence:.0f} s. Killing it.")
            child.signal(signal.SIGKILL)

    def _report_ends(self) -> None:
        ended = [(child, code) for child in self._children if (code := child.ended()) is not None]
        if ended:
            # What a process wrote before its end is still in the pipe.
            for _ in range(MAX_READS_AFTER_END):
                if not self._pump(0):
                    break
        for child, code in ended:
            if child.name == "sample":
                self._announce(complete=code == 0)
            elif child.due is not None:
                pause = child.due - time.monotonic()
                reason = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
                last_line = f': "{child.last_line}"' if child.last_line else ""
                self._say(f"{child.name} has exited ({reason}){last_line}. Restarting it in {pause:.0f} s.")

    def _check_ready(self) -> None:
        """Start the sample, or announce the site, once every part works; print what does not work now and then."""
        if not all(child.is_up for child in self._children):
            return
        listener = next(child.process.pid for child in self._children if child.name == "listen" and child.process)
        problems = health.problems(self._plan.url, listener=listener)
        if not problems:
            self._ready = True
            if self._plan.sample:
                arguments = [sys.executable, "-P", "-m", "portal.sample", str(self._chosen.data), self._plan.url]
                self._children.append(Child("sample", arguments, log=None, once=True))
            else:
                self._announce(complete=True)
        elif time.monotonic() > self._reported + NOT_READY_SECONDS:
            self._reported = time.monotonic()
            self._say(f"Not ready yet: {' '.join(problems)}")
            self._check_due = time.monotonic() + NOT_READY_SECONDS / 2

    def _announce(self, *, complete: bool) -> None:
        if not complete:
            self._say("The sample site is incomplete; the lines above say why. The site runs all the same.")
        elif self._plan.sample and (peer := self._sample_peer()):
            arguments = [sys.executable, "-P", "-m", "dimse_worker.sample_peer", "serve", *peer]
            self._children.append(self._child("sample-peer", arguments))
        self._say(f"Portico is ready: {self._plan.url}")

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
        """Count the signals that stop the site, and let each signal wake the loop."""

        def count(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, count)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
