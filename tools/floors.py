"""Draws the packages of Portico as floors, from what they import: python tools/floors.py > docs/floors.svg"""

import ast
import html
import sys
from collections.abc import Iterable
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
BOX_HEIGHT, ROW_HEIGHT, MARGIN, WIDTH = 46, 92, 24, 1360
STYLE = """
svg { font: 13px system-ui, sans-serif; color: #1c2733; background: #fff }
rect { fill: #eef3f8; stroke: #5b7590 } .name { font-weight: 600 } .says { font-size: 10.5px; fill: #4c5c6b }
path { fill: none; stroke: #8aa0b5; stroke-opacity: .75 } .floor { font-size: 11px; fill: #6d7d8c }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; background: #10161d } rect { fill: #1b2733; stroke: #6f8aa5 }
  .name { fill: #e6edf3 } .says { fill: #a9b8c6 } path { stroke: #5f7890 } .floor { fill: #8b9aa8 }
}
"""

Graph = dict[str, set[str]]


def packages() -> Graph:
    """Each package of `portal`, each module beside them and `dimse_worker`, with those that it imports."""
    modules = grimp.build_graph("portal", "dimse_worker")
    graph: Graph = {}
    for module in modules.modules:
        imported = graph.setdefault(_package(module), set())
        imported |= {_package(name) for name in modules.find_modules_directly_imported_by(module)}
    for package, imported in graph.items():
        imported -= {package, "portal"}
    del graph["portal"]
    return graph


def _package(module: str) -> str:
    names = module.split(".")
    return names[0] if names[0] == "dimse_worker" else ".".join(names[:2])


def floors(graph: Graph) -> list[list[str]]:
    """From the ground up: each package stands above all that it imports. Raises ValueError for a circle."""
    rows: list[list[str]] = []
    left = dict(graph)
    while left:
        row = sorted(name for name, imported in left.items() if not imported & left.keys())
        if not row:
            raise ValueError(f"These packages import each other in a circle: {', '.join(sorted(left))}.")
        rows.append(row)
        for name in row:
            del left[name]
    return rows


def without_shortcuts(graph: Graph) -> Graph:
    """The same without each arrow that a longer way says already (the transitive reduction)."""
    reached: Graph = {}
    for row in floors(graph):
        for name in row:
            reached[name] = set(graph[name]).union(*(reached[other] for other in graph[name]))
    return {
        name: {other for other in imported if not any(other in reached[between] for between in imported - {other})}
        for name, imported in graph.items()
    }


def draw(graph: Graph) -> str:
    """The floors as an SVG."""
    rows = floors(graph)[::-1]
    boxes: dict[str, tuple[float, float, float]] = {}
    for number, row in enumerate(rows):
        width = (WIDTH - 2 * MARGIN) / len(row)
        for place, name in enumerate(row):
            size = min(width - 16, 340)
            boxes[name] = (MARGIN + width * (place + 0.5), MARGIN + ROW_HEIGHT * number, size)
    height = MARGIN * 2 + ROW_HEIGHT * len(rows) - (ROW_HEIGHT - BOX_HEIGHT)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The packages of Portico: each imports only from the floors below it</title>",
        f"<style>{STYLE}</style>",
        *_arrows(without_shortcuts(graph), boxes),
        *(line for name, box in boxes.items() for line in _box(name, *box)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _arrows(graph: Graph, boxes: dict[str, tuple[float, float, float]]) -> Iterable[str]:
    for name, imported in sorted(graph.items()):
        for other in sorted(imported):
            (x1, y1, _), (x2, y2, _) = boxes[name], boxes[other]
            y1 += BOX_HEIGHT
            bend = (y2 - y1) / 2
            yield f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"/>'


def _box(name: str, x: float, y: float, width: float) -> Iterable[str]:
    says = _sentence(name)
    room = int(width / 5.6)
    short = says if len(says) <= room else f"{says[: room - 1].rstrip()}…"
    yield f'<g fill="currentColor"><title>{html.escape(f"{name}: {says}")}</title>'
    yield f'<rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="6"/>'
    label = name.replace("portal.", "")
    yield f'<text class="name" x="{x:.0f}" y="{y + 19:.0f}" text-anchor="middle">{html.escape(label)}</text>'
    yield f'<text class="says" x="{x:.0f}" y="{y + 35:.0f}" text-anchor="middle">{html.escape(short)}</text></g>'


def _sentence(name: str) -> str:
    """The first line of its docstring."""
    path = ROOT / name.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.stdout.write(draw(packages()))
