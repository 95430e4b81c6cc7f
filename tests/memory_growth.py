"""How much memory processes take at most while something is done."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MEGABYTE = 1 << 20
BOUND = 64 * MEGABYTE
"""By how much an object may let a process grow, whatever it is."""
_context = multiprocessing.get_context("forkserver")


@dataclass
class Growth:
    """Bytes by which each process grew at its peak, by its number."""

    by_process: dict[int, int] = field(default_factory=dict)

    @property
    def most(self) -> int:
        return max(self.by_process.values())


@contextmanager
def growth(pid: int) -> Iterator[Growth]:
    """Of a process and its children, from the beginning of the block to its end."""
    pids = [pid, *_children(pid)]
    before = {each: _of(each, "VmRSS") for each in pids}
    for each in pids:
        Path(f"/proc/{each}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    found = Growth()
    yield found
    found.by_process = {each: _of(each, "VmHWM") - before[each] for each in pids}


def growth_of(work: Callable[..., None], *arguments: Any) -> int:
    """By how much a process of its own grows that does this work."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_measured, args=(theirs, work, arguments), daemon=True)
    process.start()
    theirs.close()
    grown: int = ours.recv()
    process.join()
    return grown


def _measured(answer: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with growth(multiprocessing.current_process().pid or 0) as found:
        work(*arguments)
    answer.send(found.most)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _of(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
