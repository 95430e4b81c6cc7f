"""Addresses by noun: each is declared once, for the check of its requests and for the OpenAPI document."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_origin

from flask import current_app
from flask_openapi3 import APIBlueprint, Info, OpenAPI, Tag
from pydantic import BaseModel
from werkzeug.wrappers import Response

from portal.routes.api import refusals, request_values
from portal.routes.api.schemas.problem import PROBLEMS, Problem
from portal.routes.api.schemas.values import Query

View = TypeVar("View", bound=Callable[..., Any])

KEY_SCHEME: dict[str, Any] = {
    "key": {"type": "http", "scheme": "bearer", "description": "The API key of a device or of a user."},
}


class Noun(APIBlueprint):
    """The addresses of one noun.

    A view takes `path`, `query` and `body` of the models that its annotations name, checked before it is called, and
    answers with a model, or with a response of its own. Without a model for its query it takes no parameters.
    """

    def __init__(self, name: str, import_name: str, about: str, *, without_key: bool = False) -> None:
        """`about` is one sentence for the document; `without_key` lets everybody read."""
        super().__init__(
            name,
            import_name,
            abp_tags=[Tag(name=name, description=about)],
            abp_security=[] if without_key else [{"key": []}],
            abp_responses={**PROBLEMS},
        )
        self.without_key = without_key

    def each(
        self, method: str, rule: str, kinds: Iterable[str], response: Callable[[str], Any], **more: Any
    ) -> Callable[[View], View]:
        """Declare one view for several kinds: in the rule, {noun} stands for `subjects`; the view also takes `kind`."""

        def declare(func: View) -> View:
            summary, _, details = (func.__doc__ or "").partition("\n\n")
            for kind in kinds:
                register = getattr(self, method)
                register(
                    rule.format(noun=f"{kind}s"),
                    defaults={"kind": kind},
                    endpoint=f"{func.__name__}_{kind}",
                    summary=summary.format(kind=kind),
                    description=(details or summary).format(kind=kind),
                    responses={200: response(kind)},
                    **more,
                )(func)
            return func

        return declare

    @staticmethod
    def create_view_func(func: Any, *models: Any, **_more: Any) -> Any:
        """The view with its checks; in place of that of flask-openapi3, which reads bodies without limits."""
        _header, _cookie, path, query, _form, body, _raw = models

        @functools.wraps(func)
        def view(**address: Any) -> Response:
            checked = {}
            if path is not None:
                fields = {name: address.pop(name) for name in path.model_fields if name in address}
                checked["path"] = refusals.checked_path(path, fields)
            asked = refusals.checked_query(query or Query, request_values.read_query())
            if query is not None:
                checked["query"] = asked
            if body is not None:
                checked["body"] = refusals.checked_body(body, request_values.read_body(_kind_of(body)))
            return _response(func(**checked, **address))

        return view


class Interface(APIBlueprint):
    """All nouns. Two of them may have views of the same address, one for GET and one for POST."""

    def register_api(self, api: APIBlueprint) -> None:
        before = dict(self.paths)
        super().register_api(api)
        for address, item in before.items():
            for method in ("get", "post", "put", "patch", "delete"):
                if operation := getattr(item, method):
                    setattr(self.paths[address], method, operation)
        for item in self.paths.values():
            for method in ("post", "put", "patch", "delete"):
                self._allow_no_body(getattr(item, method))

    def _allow_no_body(self, operation: Any) -> None:
        """Describe a body as optional where an empty one is valid."""
        body = operation and operation.requestBody
        json = body.content.get("application/json") if body else None
        name = str(getattr(json.media_type_schema, "ref", "")).rpartition("/")[2] if json else ""
        if name and not getattr(self.components_schemas[name], "required", None):
            body.required = False


def _kind_of(body: type[BaseModel]) -> type[Any]:
    root = body.model_fields.get("root")
    return list if root is not None and get_origin(root.annotation) is list else dict


def make_app(name: str, release: str) -> OpenAPI:
    """The application, with the head of the document."""
    return OpenAPI(
        name,
        info=Info(title="Portico", version=release, description="The REST interface of this site."),
        security_schemes=KEY_SCHEME,
        validation_error_model=Problem,
        doc_ui=False,
    )


def _response(answer: Any) -> Response:
    if isinstance(answer, BaseModel):
        return current_app.response_class(
            answer.model_dump_json(by_alias=True, exclude_unset=True), mimetype="application/json"
        )
    response: Response = answer
    return response
