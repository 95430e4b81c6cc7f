"""The OpenAPI document as people read it: nouns, addresses, fields in words, an example of each call."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

Schema = Mapping[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
_DEEPEST = 3
"""Levels of objects within objects whose fields are listed."""
_SAMPLES: dict[str, Any] = {
    "_id": "imaging",
    "aet": "CT_TRIAL",
    "code": "imaging",
    "expires_at": "2027-01-31T12:00:00Z",
    "filter": "label=sub-01",
    "group": "imaging",
    "host": "10.0.4.17",
    "label": "sub-01",
    "member": "1.dcm",
    "name": "ct.dcm",
    "path": ["imaging", "CT trial", "sub-01"],
    "port": 11112,
    "sort": "label:asc",
    "uid": "1.2.826.0.1",
}
"""Values of examples by the name of the field; others have one by their type."""


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body or an answer; `name` leads to it: `files[].origin.type`."""

    name: str
    type: str
    about: str
    is_required: bool
    where: str = ""


@dataclass(frozen=True)
class Content:
    """A body or an answer of one media type."""

    media_type: str
    type: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Answer:
    status: str
    about: str
    content: tuple[Content, ...]

    @property
    def is_error(self) -> bool:
        return self.status >= "400"


@dataclass(frozen=True)
class Address:
    """One method of one path."""

    method: str
    path: str
    summary: str
    about: str
    needs_key: bool
    parameters: tuple[Field, ...]
    bodies: tuple[Content, ...]
    answers: tuple[Answer, ...]
    example: str
    """A call by curl, with the site's address as `{url}`, which `example_at` fills in."""

    @property
    def anchor(self) -> str:
        """Its name on the page."""
        return f"{self.method}-{self.path}".replace("/", "-").replace("{", "").replace("}", "").lower()

    def example_at(self, url: str) -> str:
        return self.example.replace("{url}", url)

    def has(self, words: str) -> bool:
        """Whether each of the words is in its path or its summary."""
        text = f"{self.method} {self.path} {self.summary} {self.about}".casefold()
        return all(word in text for word in words.casefold().split())


@dataclass(frozen=True)
class Noun:
    name: str
    about: str
    addresses: tuple[Address, ...]

    def only(self, words: str) -> "Noun":
        """The same noun with the addresses that have these words."""
        return Noun(self.name, self.about, tuple(address for address in self.addresses if address.has(words)))


def read(document: Schema) -> tuple[Noun, ...]:
    """The nouns of a document in its order, each with its addresses in theirs."""
    reader = _Reader(document.get("components", {}).get("schemas", {}))
    found: dict[str, list[Address]] = {tag["name"]: [] for tag in document.get("tags", ())}
    for path, item in document["paths"].items():
        for method in METHODS:
            if operation := item.get(method):
                found.setdefault(operation.get("tags", ["other"])[0], []).append(
                    reader.address(method.upper(), path, operation)
                )
    about = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    return tuple(Noun(name, about.get(name, ""), tuple(rows)) for name, rows in found.items() if rows)


@dataclass(frozen=True)
class _Reader:
    schemas: Mapping[str, Schema]

    def address(self, method: str, path: str, operation: Schema) -> Address:
        summary, about = operation.get("summary", ""), operation.get("description", "")
        given = operation.get("parameters", ())
        bodies = operation.get("requestBody", {}).get("content", {})
        answers = sorted(operation.get("responses", {}).items())
        return Address(
            method=method,
            path=path,
            summary=summary,
            about="" if about == summary else about,
            needs_key=bool(operation.get("security")),
            parameters=tuple(self._parameter(parameter) for parameter in given),
            bodies=self._contents(bodies),
            answers=tuple(
                Answer(status, answer.get("description", ""), self._contents(answer.get("content", {})))
                for status, answer in answers
            ),
            example=self._example(method, path, given, bodies, needs_key=bool(operation.get("security"))),
        )

    def _parameter(self, parameter: Schema) -> Field:
        schema = self._resolved(parameter.get("schema", {}))
        about = parameter.get("description") or schema.get("description", "")
        where, is_required = parameter["in"], bool(parameter.get("required"))
        return Field(parameter["name"], self._type(schema), about, is_required, where)

    def _contents(self, content: Schema) -> tuple[Content, ...]:
        found = ((media_type, part.get("schema", {})) for media_type, part in content.items())
        return tuple(Content(name, self._type(schema), tuple(self._fields(schema))) for name, schema in found)

    def _fields(self, schema: Schema, above: str = "", depth: int = 1) -> Iterator[Field]:
        """The fields of an object, or of the objects of a list, and of those within them."""
        inner, _ = self._object(schema)
        required = inner.get("required", ())
        for name, given in inner.get("properties", {}).items():
            about = given.get("description") or self._resolved(given).get("description", "")
            yield Field(f"{above}{name}", self._type(given), about, name in required)
            if depth < _DEEPEST:
                below, is_list = self._object(given)
                yield from self._fields(below, f"{above}{name}{'[]' if is_list else ''}.", depth + 1)

    def _object(self, schema: Schema) -> tuple[Schema, bool]:
        """The object that a schema is about, and whether there is a list of them."""
        schema = self._resolved(schema)
        if schema.get("type") == "array":
            return self._object(schema.get("items", {}))[0], True
        return schema, False

    def _resolved(self, schema: Schema) -> Schema:
        """What a reference names; of several forms, the first that is something."""
        while True:
            forms = [form for form in schema.get("anyOf", schema.get("oneOf", ())) if form.get("type") != "null"]
            if "$ref" in schema:
                schema = self.schemas.get(schema["$ref"].rpartition("/")[2], {})
            elif forms:
                schema = {**forms[0], **({"description": schema["description"]} if "description" in schema else {})}
            elif len(schema.get("allOf", ())) == 1:
                schema = schema["allOf"][0]
            else:
                return schema

    def _type(self, schema: Schema) -> str:
        """What a value is, in words."""
        can_be_null = any(form.get("type") == "null" for form in schema.get("anyOf", ()))
        schema = self._resolved(schema)
        return f"{self._type_of(schema)} or null" if can_be_null else self._type_of(schema)

    def _type_of(self, schema: Schema) -> str:
        kind, least, most = schema.get("type"), schema.get("minimum"), schema.get("maximum")
        if "enum" in schema or "const" in schema:
            return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
        if kind == "array":
            return f"list of {self._type(schema.get('items', {}))}"
        if kind in ("integer", "number") and least is not None and most is not None:
            return f"number, {least:.0f} to {most:.0f}"
        if kind == "string" and "24" in schema.get("pattern", ""):
            return "id"
        formats = {"date-time": "time", "binary": "bytes", "date": "date"}
        words = {"string": "text", "integer": "number", "number": "number", "boolean": "true or false"}
        return formats.get(schema.get("format", ""), words.get(str(kind), str(kind or "any value")))

    def _example(self, method: str, path: str, given: Any, bodies: Schema, *, needs_key: bool) -> str:
        asked = {one["name"]: self._sample(one["name"], one.get("schema", {})) for one in given if one.get("required")}
        for one in given:
            if one["in"] == "path":
                path = path.replace(f"{{{one['name']}}}", quote(str(asked.pop(one["name"]))))
        words = ["curl", *(["-X", method] if method != "GET" else [])]
        words += ["-H", "Authorization: Bearer KEY"] if needs_key else []
        media_type = next(iter(bodies), "")
        if media_type == "application/json":
            wanted, _ = self._object(bodies[media_type]["schema"])
            body = {
                name: self._sample(name, schema)
                for name, schema in wanted.get("properties", {}).items()
                if name in wanted.get("required", ())
            }
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        elif media_type:
            words += ["-F", "file=@ct.dcm"]
        words.append(f"{{url}}{path}{'?' + urlencode(asked) if asked else ''}")
        return shlex.join(words).replace("'Authorization: Bearer KEY'", '"Authorization: Bearer $KEY"')

    def _sample(self, name: str, schema: Schema) -> Any:
        schema = self._resolved(schema)
        if "example" in schema or schema.get("examples"):
            return schema["example"] if "example" in schema else schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0]
        if "24" in schema.get("pattern", "") or (name.endswith("_id") and name != "_id"):
            return "000300000000000000000001"
        types = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
        return _SAMPLES.get(name, types.get(str(schema.get("type")), "text"))
