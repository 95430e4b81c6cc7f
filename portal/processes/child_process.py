"""One supervised process: started, read, started again with back-off, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field

from portal import parent_death
from portal.processes.logs import LogFile

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
SERVING_PAUSE = 5.0
"""The longest pause of a process that others wait for at a port: after several kills it is back at once."""
STEADY_SECONDS = 60.0
"""Seconds after which a process counts as well: its next end is a first one."""
START_SECONDS = 1.0
"""Seconds within which a process that cannot start has ended."""
READ_SIZE = 65536
MAX_LAST_LINE_LENGTH = 300


@dataclass
class Child:
    """A process that runs until it is stopped. Its output goes to its log file, by the supervisor's hand."""

    name: str
    arguments: list[str]
    log: LogFile | None
    """Where what it says is kept; None: it is printed instead, because it may hold what is shown once."""
    patience: float = 10.0
    """Seconds that it has to stop by itself."""
    longest_pause: float = LONGEST_PAUSE
    """Seconds after which it is started again, however often it has ended."""
    once: bool = False
    """It is not started again after its end."""
    process: subprocess.Popen[bytes] | None = None
    due: float | None = 0.0
    """When it is to be started, by the monotonic clock; None while it runs, and for good after its stop."""
    failures: int = 0
    started: float = 0.0
    last_line: str = field(default="", init=False)

    def start(self) -> int:
        """Start it, and return the descriptor that its output is read from."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self.process = subprocess.Popen(
            parent_death.wrap_command(self.arguments),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the others in order.
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        os.close(writer)
        self.started, self.due, self.last_line = time.monotonic(), None, ""
        return reader

    def read(self, descriptor: int) -> bytes | None:
        """What it has said since, logged; None once it and its children have closed the pipe."""
        try:
            content = os.read(descriptor, READ_SIZE)
        except BlockingIOError:
            return b""
        if not content:
            return None
        if self.log:
            self.log.write(content)
        lines = content.decode(errors="replace").split("\n")
        self.last_line = next(
            (line.strip()[:MAX_LAST_LINE_LENGTH] for line in reversed(lines) if line.strip()), self.last_line
        )
        return content

    def ended(self) -> int | None:
        """Its exit code, once: afterwards it is due again, or over."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        self.process = None
        self.due = None
        if not self.once:
            self._back_off()
        return code

    @property
    def is_up(self) -> bool:
        """Whether it runs, and has for longer than a failed start takes."""
        return self.process is not None and time.monotonic() - self.started > START_SECONDS

    def signal(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def ask_to_end(self) -> None:
        """SIGTERM, and no start afterwards."""
        self.due, self.once = None, True
        self.signal(signal.SIGTERM)

    def _back_off(self) -> None:
        now = time.monotonic()
        self.failures = 0 if now - self.started > STEADY_SECONDS else self.failures + 1
        self.due = now + min(FIRST_PAUSE * 2 ** max(0, self.failures - 1), self.longest_pause)
