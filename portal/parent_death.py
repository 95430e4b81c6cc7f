"""Ties a process to its parent's life: `python -m portal.parent_death PARENT COMMAND …` becomes the command."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have this process killed when the thread of `parent` that started it ends; end at once if it is gone already.

    SIGKILL, because a process that drains would outlive the supervisor: nothing acknowledged is lost by a kill.
    The tie survives exec and ends at fork: a process that forks ties its children itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def wrap_command(arguments: list[str]) -> list[str]:
    """The command line that runs `arguments` tied to the process that calls this."""
    return [sys.executable, "-P", "-m", "portal.parent_death", str(os.getpid()), *arguments]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 (the supervisor's own command line)
