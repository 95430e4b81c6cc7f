"""The OpenAPI document as people read it."""

from typing import Any

from portal.web import api_reference

ID = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
REFERENCE = {"$ref": "#/components/schemas/Origin"}
DOCUMENT: dict[str, Any] = {
    "tags": [{"name": "files", "description": "Files."}, {"name": "empty"}],
    "paths": {
        "/api/{kind}/{container_id}/files": {
            "get": {
                "tags": ["files"],
                "summary": "List files",
                "description": "List files",
                "security": [{"key": []}],
                "parameters": [
                    {"name": "container_id", "in": "path", "required": True, "schema": ID},
                    {"name": "kind", "in": "path", "required": True, "schema": {"enum": ["a b", "c"]}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10}},
                ],
                "responses": {
                    "404": {"description": "Not there."},
                    "200": {
                        "description": "OK",
                        "content": {"application/json": {"schema": {"type": "array", "items": REFERENCE}}},
                    },
                },
            },
            "post": {
                "summary": "Rename",
                "tags": ["files"],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["label"],
                                "properties": {
                                    "label": {"type": "string", "description": "The new one."},
                                    "when": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                                },
                            }
                        }
                    }
                },
            },
        }
    },
    "components": {
        "schemas": {
            "Origin": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "string"}, "above": REFERENCE, "tags": {"type": "array", "items": {}}},
            }
        }
    },
}


def test_nouns_have_their_addresses_and_those_without_any_are_left_out() -> None:
    [noun] = api_reference.read(DOCUMENT)
    assert (noun.name, noun.about) == ("files", "Files.")
    assert [(one.method, one.summary, one.about, one.needs_key) for one in noun.addresses] == [
        ("GET", "List files", "", True),
        ("POST", "Rename", "", False),
    ]
    assert len({one.anchor for one in noun.addresses}) == 2


def test_values_are_said_in_words() -> None:
    listing, renaming = api_reference.read(DOCUMENT)[0].addresses
    assert [field.type for field in listing.parameters] == ["id", '"a b" | "c"', "number, 1 to 10"]
    [body] = renaming.bodies
    assert [(field.name, field.type, field.about, field.is_required) for field in body.fields] == [
        ("label", "text", "The new one.", True),
        ("when", "time or null", "", False),
    ]


def test_fields_within_fields_are_listed_and_what_contains_itself_ends() -> None:
    listing = api_reference.read(DOCUMENT)[0].addresses[0]
    answer, problem = listing.answers
    assert (answer.is_error, problem.is_error) == (False, True)
    [content] = answer.content
    assert content.type == "list of object"
    names = [field.name for field in content.fields]
    assert names[:4] == ["id", "above", "above.id", "above.above"]
    assert max(name.count(".") for name in names) == 2


def test_an_example_is_a_call_with_what_is_required() -> None:
    listing, renaming = api_reference.read(DOCUMENT)[0].addresses
    assert listing.example_at("http://x:1") == (
        "curl -H \"Authorization: Bearer $KEY\" 'http://x:1/api/a%20b/000300000000000000000001/files'"
    )
    assert '-d \'{"label": "sub-01"}\'' in renaming.example
    assert "Authorization" not in renaming.example


def test_a_search_finds_words_of_the_address_and_of_what_it_does() -> None:
    [noun] = api_reference.read(DOCUMENT)
    assert [one.method for one in noun.only("post FILES").addresses] == ["POST"]
    assert [one.method for one in noun.only("rename").addresses] == ["POST"]
    assert len(noun.only("").addresses) == 2
    assert noun.only("nothing").addresses == ()
