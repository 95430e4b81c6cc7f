"""What pages and echoes take while a site is attacked from all sides at once (`make bench`).

python bench/attack.py DIR [--seconds 90]
"""

import argparse
import datetime
import os
import platform
import shutil
import sys
from pathlib import Path

import results

sys.path.append(str(Path(__file__).parents[1]))

from tests.fixtures.hostile import attackers

WHOLE = 60.0
"""Seconds of an attack whose figures are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=WHOLE)
    options = parser.parse_args()
    shutil.rmtree(options.data, ignore_errors=True)
    load = os.getloadavg()[0]
    text = report(attackers.run(options.data, seconds=options.seconds), options.seconds, load)
    print(text)
    if options.seconds >= WHOLE:
        results.keep("attack", text)


def report(found: attackers.Report, seconds: float, load: float) -> str:
    lines = [
        f"## Under attack, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "",
        f"{os.cpu_count()} cores, load {load:.1f} at the beginning, Python {platform.python_version()}.",
        f"For {seconds:.0f} s slow connections, mutated objects by REST and C-STORE, pictures that break decoders, and",
        "three exports, all at once and on the same cores.",
        "",
        "| what | asked | p50 ms | p95 ms | most ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, times in (("a page, signed in", found.pages), ("a C-ECHO, from connect to release", found.echoes)):
        at = " | ".join(f"{1000 * attackers.percentile(times, part):.0f}" for part in (0.5, 0.95, 1))
        lines.append(f"| {name} | {len(times)} | {at} |")
    attacks = "; ".join(f"{name}: {number:,}" for name, number in sorted(found.attacks.items()))
    peaks = ", ".join(f"{role} {size >> 20}" for role, size in sorted(found.peaks.items()))
    lines += ["", f"Not answered as they should: {', '.join(sorted(set(found.failures))) or 'none'}. {attacks}.", ""]
    return "\n".join([*lines, f"The most memory of a process of each kind, MiB: {peaks}."])


if __name__ == "__main__":
    main()
