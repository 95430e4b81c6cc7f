"""/api/openapi.json: the interface as it describes itself."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask

from portal.settings import Settings
from tests.fixtures.api import Api
from tests.fixtures.applications import application


@pytest.fixture
def document(url: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{url}/api/openapi.json", timeout=9).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_address_is_described(document: dict[str, Any], site_settings: Settings) -> None:
    app: Flask = application(site_settings)
    served = {
        (re.sub(r"<(?:[^<:]+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/") and not rule.rule.startswith(("/api/openapi.json", "/api/docs"))
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations(document)} == served
    assert len(served) > 30


def test_every_operation_has_a_name_of_its_own_a_summary_and_its_errors(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    every = [operation for _, _, operation in operations(document)]
    assert len({operation["operationId"] for operation in every}) == len(every)
    for operation in every:
        assert operation["summary"]
        assert "{" not in operation["summary"]
        assert {"400", "401", "403", "404", "409", "413", "422", "429", "503"} <= operation["responses"].keys()
        assert operation["responses"].keys() & {"200", "204"}


def test_what_needs_no_key_is_marked(document: dict[str, Any], url: str) -> None:
    for path, method, operation in operations(document):
        if method == "get":
            answer = requests.get(f"{url}{re.sub(r'{[^}]*}', 'x', path)}", timeout=9)
            assert (answer.status_code == 401) == bool(operation.get("security")), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$ref":
                    yield inner
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_a_body_whose_field_is_wrong_inside_names_the_place(api: Api) -> None:
    answer = api.put("/api/devices/self", json={"info": {}, "errors": 5})
    assert answer.json()["message"] == "The field errors must be an array."
