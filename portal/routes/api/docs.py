"""The REST interface, described: pages made from its OpenAPI document, with or without signing in."""

from typing import cast

from flask import Blueprint, current_app, request
from flask_openapi3 import OpenAPI
from werkzeug.wrappers import Response

from portal.errors import Missing
from portal.web import api_reference
from portal.web.api_reference import Noun
from portal.web.render import render

bp = Blueprint("api_docs", __name__, url_prefix="/api/docs")

LONGEST_SEARCH = 200


@bp.get("")
def index() -> Response:
    words = request.args.get("q", "")[:LONGEST_SEARCH]
    nouns = [noun.only(words) for noun in _nouns()]
    return render(
        "api_docs/index.html",
        partial="api_docs/_list.html",
        nouns=nouns,
        words=words,
        found=sum(len(noun.addresses) for noun in nouns),
    )


@bp.get("/<noun>")
def show(noun: str) -> Response:
    for found in _nouns():
        if found.name == noun:
            return render("api_docs/noun.html", noun=found, url=request.host_url.rstrip("/"))
    raise Missing("The REST interface has no such noun. The first page of its description lists all nouns.")


def _nouns() -> tuple[Noun, ...]:
    """Read once: the document is that of the program."""
    app = cast(OpenAPI, current_app)
    kept = app.extensions
    if "api_reference" not in kept:
        kept["api_reference"] = api_reference.read(app.api_doc)
    nouns: tuple[Noun, ...] = kept["api_reference"]
    return nouns
