"""Modules of ours that run as processes of their own, forked from one that has imported them: that takes a second else.

That they start as a command line does is seen where the site runs by `portal up`, and under strace.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["dimse_worker.listener", "dimse_worker.worker", "portal.app", "gunicorn.workers.gthread", __name__]
)


class Forked:
    """`python -m MODULE ARGUMENTS` with what tests use of `subprocess.Popen`; what it prints is added to `log`."""

    def __init__(self, module: str, *arguments: str, log: Path, environ: dict[str, str] | None = None) -> None:
        environ = dict(os.environ) if environ is None else environ
        log.touch()
        self._process = _context.Process(target=_run, args=(module, arguments, str(log), environ), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or the number of its signal below zero, once it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: tuple[str, ...], log: str, environ: dict[str, str]) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(environ)
    if kind := environ.get("PYTHONWARNINGS"):
        warnings.simplefilter(kind)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
