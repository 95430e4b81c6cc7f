"""What the DIMSE bench measured, and its table."""

import datetime
import os
import platform
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from archives import Load, Server, Void
from scu import Refused

OURS, THEIRS = "fast", "orthanc"
NAMES = {"orthanc": "Orthanc", "stock": "Portico stock", "fast": "Portico fast"}
MILLISECOND = 1e3


@dataclass(frozen=True)
class Figure:
    label: str
    unit: str
    goal: str = ""
    is_more_better: bool = True
    digits: int = 0


FIGURES = {
    "d1": Figure("C-STORE of D1, 1 association", "MB/s", "≥ 2.5x"),
    "d1x4": Figure("C-STORE of D1, 4 associations", "MB/s", "≥ 1.8x"),
    "d1tls": Figure("C-STORE of D1 over TLS, 1 association", "MB/s", "≥ 1.5x"),
    "d2": Figure("C-STORE of D2, 1 association", "/s", "≥ 2x"),
    "d2x4": Figure("C-STORE of D2, 4 associations", "/s", "≥ 1.5x"),
    "nagle": Figure("C-STORE of 20 kB, sender with Nagle", "/s", "≥ 15x"),
    "d3": Figure("C-STORE of D3", "MB/s", "≥ 6x"),
    "rss": Figure("peak RSS of a process meanwhile", "MiB", "< 120 MiB", False),
    "get": Figure("C-GET of D1", "s", "≥ 1.5x", False, 2),
    "move": Figure("C-MOVE of D1", "s", "≥ 2x", False, 2),
    "one": Figure("C-FIND, 1 match of 2,000 studies, median", "ms", "", False, 2),
    "all": Figure("C-FIND, 2,000 matches, 15 return keys", "/s", "≥ 5x"),
    "index_first": Figure("C-FIND, 1 match in 10,000 instances, median", "ms", "", False, 2),
    "index": Figure("C-FIND, 1 match in 1,000,000 instances, median", "ms", "< 1 ms", False, 2),
    "index_p99": Figure("the same, p99", "ms", "< 4 ms", False, 2),
    "index_growth": Figure("the median in 1,000,000 by that in 10,000", "", "≤ 1.5", False, 2),
    "echo": Figure("associate, C-ECHO, release", "ms", "< 1 ms", False, 2),
    "together": Figure("200 associations at once, until all are accepted", "s", "< 1 s", False, 2),
    "refused": Figure("220 associations at once: refused", "", "20", False),
}


@dataclass
class Attempt:
    """One turn of one server at one work."""

    kind: str
    readings: list[tuple[str, float]] = field(default_factory=list)
    cpu: list[tuple[str, float]] = field(default_factory=list)

    def read(self, figure: str, value: float) -> None:
        self.readings.append((figure, value))
        print(f"{figure} {self.kind}: {value:.3f} {FIGURES[figure].unit}", file=sys.stderr)

    def took(self, figure: str, load: Load, number: int) -> None:
        """CPU time of the server for so many objects or answers."""
        self.cpu.append((figure, MILLISECOND * load.cpu / number))


@dataclass
class Tally:
    """All turns so far, by figure and server. A turn that was not right to its end is void."""

    readings: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Milliseconds an object, or an answer."""
    void: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Work, server and reason → rounds."""
    servers: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def attempt(self, work: str, kind: str) -> Iterator[Attempt]:
        """Keep the readings of the block once it has ended well."""
        attempt = Attempt(kind)
        try:
            yield attempt
        except (Void, Refused, OSError, AssertionError, subprocess.SubprocessError) as error:
            reason = (str(error) or type(error).__name__).strip().replace("\n", " ")[:200]
            self.void[work, kind, reason] += 1
            print(f"{work} {kind}: void: {reason}", file=sys.stderr)
        else:
            for figure, value in attempt.readings:
                self.readings[figure, kind].append(value)
            for figure, value in attempt.cpu:
                self.cpu[figure, kind].append(value)

    def describe(self, kind: str, server: Server) -> None:
        if kind not in self.servers:
            self.servers[kind] = f"{server.name} {server.version()}: {server.durability}"

    def report(self, *, rounds: int, part: int, load: float) -> Iterator[str]:
        smaller = f" Every work {part} times smaller." if part > 1 else ""
        kinds = sorted(self.servers, key=("orthanc", "storescp", "dcmqrscp", "stock", "fast").index)
        names = " | ".join(NAMES.get(kind, kind) for kind in kinds)
        yield f"## DIMSE, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        yield ""
        yield f"{os.cpu_count()} cores, Linux {platform.release()}, load {load:.1f} at the beginning, Python"
        yield f"{platform.python_version()}. Medians of {rounds} rounds (least to most), the servers in turn, each on"
        yield "a fresh store, with the sender on the same cores and disk. What was stored or sent was compared with"
        yield f"its source, byte for byte and row for row.{smaller} D1 is one CT study of 500 x 0.5 MB, D2 is 2,000 x"
        yield "20 kB in 20 studies, D3 is 4 x 200 MB. *by Orthanc*: how many times better Portico fast is."
        yield "Senders, and the servers of DCMTK and Orthanc, have `TCP_NODELAY=1` in their environment, not their"
        yield "default: without it each object takes them 40 to 90 ms. In the row with Nagle the sender has it not."
        yield ""
        yield from (f"- {self.servers[kind]}." for kind in kinds)
        yield ""
        yield f"| work | {names} | by Orthanc | goal |"
        yield f"|---|{'---:|' * (len(kinds) + 2)}"
        for key, figure in FIGURES.items():
            cells = [self._cell(key, kind) for kind in kinds]
            if any(cells):
                unit = f", {figure.unit}" if figure.unit else ""
                yield f"| {figure.label}{unit} | {' | '.join(cells)} | {self._ratio(key)} | {figure.goal} |"
        yield ""
        yield "CPU of all processes of the server, milliseconds an object or an answer:"
        yield ""
        yield f"| work | {names} |"
        yield f"|---|{'---:|' * len(kinds)}"
        for key in dict.fromkeys(key for key, _ in self.cpu):
            values = [self.cpu.get((key, kind)) for kind in kinds]
            cells = [f"{statistics.median(each):.2f}" if each else "" for each in values]
            yield f"| {FIGURES[key].label} | {' | '.join(cells)} |"
        if self.void:
            void = (f"{work} of {kind} in {count}: {reason}" for (work, kind, reason), count in self.void.items())
            yield from ("", f"Void, with the rounds: {'; '.join(void)}.")

    def _cell(self, key: str, kind: str) -> str:
        values = self.readings.get((key, kind))
        if not values:
            return ""
        digits = FIGURES[key].digits
        middle, *ends = (f"{of(values):,.{digits}f}" for of in (statistics.median, min, max))
        return f"{middle} ({' to '.join(ends)})" if len(values) > 1 else middle

    def _ratio(self, key: str) -> str:
        ours, theirs = (self.readings.get((key, kind)) for kind in (OURS, THEIRS))
        if not ours or not theirs or not FIGURES[key].unit:
            return ""
        times = statistics.median(ours) / statistics.median(theirs)
        return f"{times if FIGURES[key].is_more_better else 1 / times:.2f}x"
