"""Help: the guide of this release as pages, with or without signing in."""

import posixpath
from functools import lru_cache
from pathlib import Path, PurePosixPath

from flask import Blueprint, url_for
from flask import Response as FlaskResponse
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from werkzeug.wrappers import Response

from portal.errors import Missing
from portal.web.render import render

bp = Blueprint("help", __name__, url_prefix="/help")

DOCS = Path(__file__).parents[1] / "docs"
"""The folder `docs` of the repository, a link within the package."""
FOLDERS = ("guide", "storage")
FIRST = "guide/README"
PICTURE_SECONDS = 3600
"""How long a browser caches a picture."""


@bp.get("/")
def index() -> Response:
    return _page(FIRST)


@bp.get("/<any(guide, storage):folder>/<name>")
def page(folder: str, name: str) -> Response:
    return _page(f"{folder}/{name}")


@bp.get("/pictures/<name>.png")
def picture(name: str) -> Response:
    pictures = {path.stem: path for path in (DOCS / "guide" / "pictures").glob("*.png")}
    if name not in pictures:
        raise Missing("The help has no such picture.")
    response = FlaskResponse(pictures[name].read_bytes(), mimetype="image/png")
    response.cache_control.max_age = PICTURE_SECONDS
    return response


def _page(name: str) -> Response:
    if name not in _names():
        raise Missing("The help has no such page. Its first page lists all pages.")
    title, content = _read(name)
    return render("help/page.html", title=title, content=content, is_first=name == FIRST)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(f"{folder}/{path.stem}" for folder in FOLDERS for path in (DOCS / folder).glob("*.md"))


@lru_cache(maxsize=64)
def _read(name: str) -> tuple[str, Markup]:
    """The heading of a page, and the rest as HTML. HTML tags in the source are escaped."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse((DOCS / f"{name}.md").read_text())
    title = tokens[1].content
    for token in (inner for block in tokens for inner in (block, *(block.children or ()))):
        _rewrite_link(token, PurePosixPath(name).parent)
    content = parser.renderer.render(tokens[3:], parser.options, {})
    return title, Markup(content)  # noqa: S704 (from our own files, with HTML in them escaped)


def _rewrite_link(token: Token, folder: PurePosixPath) -> None:
    """Point links and pictures to pages of the help; a link to a file outside of it becomes plain text."""
    if token.type == "image":
        token.attrs["src"] = url_for("help.picture", name=PurePosixPath(str(token.attrs["src"])).stem)
        token.attrs["loading"] = "lazy"
    elif token.type == "link_open":
        path, hash_, part = str(token.attrs["href"]).partition("#")
        target = posixpath.normpath(folder / path).removesuffix(".md") if path else ""
        if target in _names():
            where, _slash, name = target.rpartition("/")
            token.attrs["href"] = url_for("help.page", folder=where, name=name) + hash_ + part
        elif path and "://" not in path:
            del token.attrs["href"]
    token.attrs.pop("style", None)  # forbidden by the content security policy
