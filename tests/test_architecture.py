"""What docs/architecture.md and the code's citations say of the repository is so."""

import ast
import re
from pathlib import Path

import pytest

from tools import floors

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ANSWER = re.compile(r"^\| (?P<question>[^|]+\?) \| `(?P<path>[\w/.]+)` \| `(?P<name>[\w.]+)` \|$", re.MULTILINE)
QUESTIONS = [(found["question"], found["path"], found["name"]) for found in ANSWER.finditer(PAGE)]


def definitions_of(path: Path) -> set[str]:
    """Functions, classes, methods as Class.method, and what is assigned at the top."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return names


def test_thirty_questions_are_answered() -> None:
    assert len(QUESTIONS) >= 30
    assert len({question for question, _, _ in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize(("question", "path", "name"), QUESTIONS)
def test_the_answer_to_a_question_is_there(question: str, path: str, name: str) -> None:
    assert name in definitions_of(ROOT / path), question


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:portal|dimse_worker|tests|tools|docs|bench)/[\w/.-]*)`", PAGE)) - {
        "docs/decisions/NNNN"
    }
    assert len(named) > 30
    assert not {path for path in named if not (ROOT / path).exists()}


def test_the_picture_of_the_floors_is_of_this_code() -> None:
    """`python tools/floors.py > docs/floors.svg` draws it anew."""
    assert (ROOT / "docs" / "floors.svg").read_text() == floors.draw(floors.packages())


def test_packages_that_import_each_other_in_a_circle_are_named() -> None:
    with pytest.raises(ValueError, match=r"in a circle: portal\.one, portal\.two"):
        floors.floors({"portal.one": {"portal.two"}, "portal.two": {"portal.one"}, "portal.three": set()})


def test_an_arrow_that_a_longer_way_says_already_is_left_out() -> None:
    graph = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": set()}
    assert floors.without_shortcuts(graph) == {"top": {"middle"}, "middle": {"ground"}, "ground": set()}


def test_each_decision_that_the_code_cites_is_in_the_repository() -> None:
    decisions = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")}
    folders = (ROOT / "portal", ROOT / "dimse_worker")
    sources = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    cited = set(re.findall(r"decisions?/(\d{4})", sources))
    assert cited
    assert cited <= decisions
    assert not re.findall(r".*(?:design decision|design\.md).*", sources)
