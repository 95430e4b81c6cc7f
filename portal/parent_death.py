"""Processes that die with their parent: `python -m portal.parent_death PARENT COMMAND …` becomes the command."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have this process killed when the thread of `parent` that started it ends; exit if it has ended already.

    By SIGKILL, as a process that drains would outlive the supervisor; nothing acknowledged is lost by a kill.
    This survives exec but not fork: a process that forks calls it in its children.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def wrap_command(arguments: list[str]) -> list[str]:
    """The command line that runs `arguments` until the calling process ends."""
    return [sys.executable, "-P", "-m", "portal.parent_death", str(os.getpid()), *arguments]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 (the supervisor's own command line)
