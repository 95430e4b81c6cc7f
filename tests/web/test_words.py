"""The words of the interface: one word for one thing, and none of the riddles that docs/design-system.md replaced."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from portal import cli

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "portal" / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "portal" / "static").glob("*.js"))
PAGES = sorted(path for folder in ("routes", "web") for path in (ROOT / "portal" / folder).rglob("*.py"))
GUIDE = [
    ROOT / "README.md",
    *sorted(path for folder in ("guide", "storage") for path in (ROOT / "docs" / folder).glob("*.md")),
]

REPLACED = """
    for the other side | so since | knocks | knocked | let a scanner or viewer in | type one in | for later
    make project | is made | are made | what the objects say | how it came here | what it may | it may see
    sees in fact | what it sends goes to | may have us send | our ae title towards | answers for it
    answer for it | not told | no interval told | told yet | wrote last | as they should be
    or had operations that | acts on its next | acts at once | of these is so | of these is, | what of it
    at most, in a second | as the line gives | i know, and | arrived whole, | arrived whole. | gave way
    stayed here | stays here | lies in | lie in | left there | without a page | hours in all | taken in
    takes it in | not for you | to the first page | is not yours | other content under | the old one stays
    replace it; | thrown by | throw things | who threw | store too | take away | each chained | acts, each
    is no key of | begins with that | password of now | each time that it is | from the foot up | by itself
    by themselves | for good | for ever | is so | as it was | as it came | of ours | of now | anew | brought in
    brought there | goes on | go on | mend that | did not pass | last heard | it called us | we called it
    what fills the disk | keep it out | let it in | leave it so | look at the series | i know of
    what would be done | as it will be | nobody else wants in | was let in | silent all day
    that is not done here | portico made a mistake | too old | waits for you | line of cron | objects at once
    look at them | take it up again
"""
"""Texts that pages no longer say, in lower case; what they say instead is in docs/design-system.md."""
WORDS = [text.strip() for line in REPLACED.strip().splitlines() for text in line.split("|")]
EITHER = re.compile("|".join(rf"(?<![\w-]){re.escape(text)}(?![\w-])" for text in sorted(WORDS, key=len, reverse=True)))

COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
QUOTED = re.compile(r'"([^"\n]*)"')
TAG = re.compile(r"<[^>]*>")
SHOWN_ATTRIBUTE = re.compile(r'(?:aria-label|title|alt|placeholder|label)="([^"]*)"')
SCRIPT_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def test_no_template_says_a_word_that_was_replaced() -> None:
    assert found_in((path, text_of_template(path.read_text())) for path in TEMPLATES) == []


def test_no_script_says_a_word_that_was_replaced() -> None:
    assert found_in((path, SCRIPT_COMMENT.sub("", path.read_text())) for path in SCRIPTS) == []


def test_no_label_or_message_of_a_page_says_a_word_that_was_replaced() -> None:
    assert found_in((path, "\n".join(strings_of(path.read_text()))) for path in PAGES) == []


def test_no_help_of_the_command_line_says_a_word_that_was_replaced() -> None:
    assert found_in(help_texts(cli.portal, "portal")) == []


def test_no_page_of_the_guide_says_a_word_that_was_replaced() -> None:
    assert found_in((path, path.read_text()) for path in GUIDE) == []


@pytest.mark.parametrize(
    "template",
    [
        "<p>Somebody knocks.</p>",
        '<button aria-label="Take away neuro">x</button>',
        '{{ press(address, "Leave it so") }}',
        "{% if at %}It starts by\n  itself.{% endif %}",
        "<dt>Lies in</dt>",
        "{{ name }} is <b>made</b>.",
    ],
)
def test_a_replaced_word_is_found_wherever_a_template_shows_it(template: str) -> None:
    assert found_in([(Path("x.html"), text_of_template(template))])


@pytest.mark.parametrize(
    "template", ["{# Somebody knocks. #}", "{{ by_itself }}", "<p>Lies inside.</p>", '<p class="store too"></p>']
)
def test_what_nobody_reads_is_not_searched(template: str) -> None:
    assert found_in([(Path("x.html"), text_of_template(template))]) == []


def test_every_word_of_the_list_can_be_found() -> None:
    assert len(WORDS) == len(set(WORDS)) > 90
    assert [text for text in WORDS if EITHER.search(f"Here {text} there.") is None] == []


def test_what_is_searched_is_not_empty() -> None:
    """A folder that was moved would make every other test pass."""
    assert len(TEMPLATES) > 90
    assert SCRIPTS
    assert "Create project" in text_of_template((ROOT / "portal/templates/projects/new.html").read_text())
    assert "Allowed services" in strings_of((ROOT / "portal/routes/peers.py").read_text())
    assert len(list(help_texts(cli.portal, "portal"))) > 50


def found_in(texts: Iterator[tuple[object, str]] | list[tuple[object, str]]) -> list[str]:
    """Each hit with where it is."""
    return [
        f"{where}: {hit[0]!r} in {text[max(0, hit.start() - 30) : hit.end() + 30]!r}"
        for where, raw in texts
        for text in [re.sub(r"\s+", " ", raw)]
        for hit in EITHER.finditer(text.lower())
    ]


def text_of_template(template: str) -> str:
    """What a person can read of a template: its text, attributes that are shown or read out, and quoted texts."""
    source = COMMENT.sub("", template)
    quoted = [text for expression in EXPRESSION.findall(source) for text in QUOTED.findall(expression)]
    markup = EXPRESSION.sub(" ", source)
    return "\n".join([TAG.sub(" ", markup), *SHOWN_ATTRIBUTE.findall(markup), *quoted])


def strings_of(source: str) -> list[str]:
    """The texts of a module but for its docstrings."""
    tree = ast.parse(source)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in bare)
    return [node.value for node in texts if isinstance(node.value, str)]


def help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """The help of a command, and of all commands below it."""
    context = click.Context(command, info_name=name)
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            below = command.get_command(context, inner)
            assert below is not None
            yield from help_texts(below, f"{name} {inner}")
