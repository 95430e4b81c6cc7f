"""bench/results.md: one section for each bench, which its last whole run has written."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results.md"


def keep(name: str, text: str) -> None:
    """Put a section in the place of the last one of that name, or at the end."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = RESULTS.read_text() if RESULTS.exists() else "# What was measured\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}{end}\n"
    before, _, rest = old.partition(begin)
    RESULTS.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")
