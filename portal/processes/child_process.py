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
"""The longest pause of a process that serves a port: others wait for it, so it is back soon after several kills."""
STEADY_SECONDS = 60.0
"""Seconds after which a process counts as healthy: after its next end the pause is short again."""
START_SECONDS = 1.0
"""Seconds within which a process that cannot start exits."""
READ_SIZE = 65536
MAX_LAST_LINE_LENGTH = 300


@dataclass
class Child:
    """A process that runs until it is stopped. The supervisor reads its output and writes it to its log file."""

    name: str
    arguments: list[str]
    log: LogFile | None
    """Where its output goes; None: it is printed instead, because it may contain a secret that is shown only once."""
    patience: float = 10.0
    """Seconds that it has to exit after SIGTERM."""
    longest_pause: float = LONGEST_PAUSE
    """The longest pause before it is restarted, however often it has exited."""
    once: bool = False
    """It is not restarted after its end."""
    process: subprocess.Popen[bytes] | None = None
    due: float | None = 0.0
    """When it is to be started, by the monotonic clock; None while it runs, and after it was stopped."""
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
        """Its new output, which is logged; None once it and its children have closed the pipe."""
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
        """Its exit code, once; None while it runs. Afterwards a restart is due, unless it runs only once."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        self.process = None
        self.due = None
        if not self.once:
            now = time.monotonic()
            self.failures = 0 if now - self.started > STEADY_SECONDS else self.failures + 1
            self.due = now + min(FIRST_PAUSE * 2 ** max(0, self.failures - 1), self.longest_pause)
        return code

    @property
    def is_up(self) -> bool:
        """Whether it has run for longer than a failed start takes."""
        return self.process is not None and time.monotonic() - self.started > START_SECONDS

    def signal(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def ask_to_end(self) -> None:
        """Send SIGTERM, and do not restart it."""
        self.due, self.once = None, True
        self.signal(signal.SIGTERM)
