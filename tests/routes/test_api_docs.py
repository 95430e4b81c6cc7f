"""The description of the REST interface: all of its document, for everybody."""

from typing import cast

from flask import Flask
from flask_openapi3 import OpenAPI

from tests.fixtures.web import HTMX, Visitor, text_of


def test_every_address_of_the_document_is_described(stranger: Visitor, app: Flask) -> None:
    document = cast(OpenAPI, app).api_doc
    index = text_of(stranger.get("/api/docs").text)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            [noun] = operation["tags"]
            line = f"{method.upper()} {path}"
            assert line in index
            page = stranger.get(f"/api/docs/{noun}")
            assert page.status_code == 200
            assert line in text_of(page.text)


def test_examples_name_the_address_that_the_reader_used(stranger: Visitor) -> None:
    page = stranger.get("/api/docs/containers", headers={"Host": "portico.example:8080"}).text
    assert "http://portico.example:8080/api/projects" in page


def test_a_search_shows_what_it_finds(stranger: Visitor) -> None:
    found = stranger.get("/api/docs?q=device+key", headers=HTMX).text
    assert "/api/devices/{device_id}/key" in found
    assert "/api/projects" not in found
    assert "<html" not in found
    assert "No results for" in stranger.get("/api/docs?q=nothing-of-that").text


def test_there_is_no_other_noun(stranger: Visitor) -> None:
    assert stranger.get("/api/docs/nothing").status_code == 404
