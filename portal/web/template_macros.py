"""Globals of every template: the macros of templates/_parts, and the icons."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask
from markupsafe import Markup

from portal.web import client_keys, formats

STATIC = Path(__file__).parent.parent / "static"
ICONS = STATIC / "vendor" / "tabler-icons"
MACROS = Path(__file__).parent.parent / "templates" / "_parts"
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u206f\ufeff]")
"""Characters that are invisible or change the text direction, except marks that scripts need (joiners, U+200E)."""
_INSIDE = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)


def install(app: Flask) -> None:
    formats.install(app)
    app.jinja_env.finalize = visible_text
    app.jinja_env.globals["icon"] = icon
    app.jinja_env.globals["client_keys"] = client_keys.lines
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    for path in sorted(MACROS.glob("*.html")):
        module = app.jinja_env.get_template(f"_parts/{path.name}").module
        name = path.stem
        app.jinja_env.globals[name] = getattr(module, name)


def visible_text(value: Any) -> Any:
    """A text with invisible characters shown by their number.

    `|e` in a template keeps them, for values that are sent back or copied.
    """
    if type(value) is not str or value.isprintable():
        return value
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)


@lru_cache(maxsize=256)
def icon(name: str, kind: str = "i i-s") -> Markup:
    """A vendored icon as inline SVG in the colour of the surrounding text, hidden from screen readers."""
    drawing = _INSIDE.search((ICONS / f"{name}.svg").read_text())
    if drawing is None:
        raise ValueError(f"{name}.svg is no drawing")
    return Markup(
        '<svg class="{}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-linecap="round"'
        ' stroke-linejoin="round" aria-hidden="true">{}</svg>'
    ).format(kind, Markup(drawing[1].strip()))  # noqa: S704 (our own file, named by our templates)
