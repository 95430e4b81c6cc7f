"""Measures the shape of the code, prints it, and exits with 1 where it leaves its bounds: python tools/figures.py

A private function is *named once* where its module names it in one place besides its definition: it is called from one
place, so that its lines may as well stand there.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
MAX_MODULES = 25
"""Modules of one folder, those of the tests too."""
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_NAMED_ONCE = 0.12
"""Of all functions."""


@dataclass(frozen=True)
class Function:
    path: Path
    name: str
    line: int
    lines: int
    is_named_once: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.name}"


def main() -> int:
    sources = [*ROOT.glob("portal/**/*.py"), *ROOT.glob("dimse_worker/**/*.py"), ROOT / "wsgi.py"]
    folders = Counter(path.parent for path in [*sources, *ROOT.glob("tests/**/*.py")])
    lengths = {path: path.read_text().count("\n") for path in sources}
    functions = [function for path in sources for function in functions_of(path)]
    once = [function for function in functions if function.is_named_once]
    share = len(once) / len(functions)

    print(
        f"{len(sources)} modules in {len({path.parent for path in sources})} folders, {sum(lengths.values()):,} lines"
    )
    print(f"{len(functions):,} functions of {median(function.lines for function in functions):.0f} lines at the median")
    print(f"{len(once)} private functions are named once: {share:.1%} of all")
    faults = [
        *_over("modules", MAX_MODULES, ((str(folder.relative_to(ROOT)), count) for folder, count in folders.items())),
        *_over("lines", MAX_FILE_LINES, ((str(path.relative_to(ROOT)), lines) for path, lines in lengths.items())),
        *_over("lines", MAX_FUNCTION_LINES, ((str(function), function.lines) for function in functions)),
    ]
    if share > MAX_NAMED_ONCE:
        faults.append(f"{share:.1%} of all functions are private and named once; at most {MAX_NAMED_ONCE:.0%} may be")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def functions_of(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text())
    named = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_private = node.name.startswith("_") and not node.name.startswith("__")
            yield Function(
                path=path,
                name=node.name,
                line=node.lineno,
                lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                is_named_once=is_private and named[node.name] <= 1,
            )


def _over(unit: str, bound: int, measured: Iterable[tuple[str, int]]) -> list[str]:
    return [f"{what}: {count} {unit}, at most {bound}" for what, count in sorted(measured) if count > bound]


if __name__ == "__main__":
    sys.exit(main())
