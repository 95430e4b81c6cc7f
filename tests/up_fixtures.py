"""A real `portal up` in a folder of its own on ports of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from free_ports import free_port

PATIENCE = 120.0
PAUSE = 0.05


def until(condition: Callable[[], Any], seconds: float = PATIENCE, *, pause: float = PAUSE) -> Any:
    """What the condition returns once that is true; fails after its time. A dear one is asked after longer pauses."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        threading.Event().wait(pause)
    return found


def descendants(pid: int) -> list[int]:
    """Process ids of everything that a process has started, and what that has started."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Up:
    """One site, and the `portal up` that runs on it, if one does."""

    data: Path
    port: int = field(default_factory=free_port)
    dimse_port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)
    within: list[str] = field(default_factory=list)
    """What stands before each command, such as the namespace that it runs in."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What the run that is on has printed so far."""
        return "\n".join(self.lines)

    def portal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the site."""
        return subprocess.run(
            [*self.within, *_command(), *arguments, "--data", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            env=self._environ(),
        )

    def start(self, *options: str) -> None:
        """Start it; returns at once."""
        arguments = ["up", "--port", str(self.port), "--data", str(self.data), *options]
        self.lines = []
        self.process = subprocess.Popen(
            [*self.within, *_command(), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environ(),
        )
        threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()

    def ready(self) -> None:
        """Wait for the line that says so."""
        until(lambda: "Portico is ready" in self.said or self._has_ended())
        assert "Portico is ready" in self.said, self.said

    def stop(self) -> int:
        """SIGTERM, as an operator or a machine's shutdown does; its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def children(self, word: str = "") -> list[int]:
        """Process ids of the running site's processes; with a word, of those with it on their command line."""
        assert self.process
        return [pid for pid in descendants(self.process.pid) if word in _command_line(pid)]

    def end(self) -> None:
        """Whatever state it is in: nothing is left."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def counts(self) -> dict[str, int]:
        """What became of the files that were sent, once the alternates have been compared."""
        line = next(line for line in self.lines if line.startswith("Comparison:"))
        counted = {
            name: int(number)
            for number, name in re.findall(r"(\d+) (stored|same|reencoded|alternate|conflict|refused)\b", line)
        }
        return {**counted, "sent": int(line.rstrip(".").rpartition("= ")[2])}

    def _has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def _environ(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        return {**ours, "PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1", **self.environ}

    def _listen(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))


def _command() -> list[str]:
    return [sys.executable, "-c", "from portal.cli import main; main()"]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
