"""Every error of the REST interface as JSON: {message, status_code, request_id}."""

import logging
import uuid

from flask import Blueprint, current_app, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter
from werkzeug.wrappers import Response

from portal.errors import NotSignedIn, PortalError
from portal.routes.problems import code_of

log = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENTENCES = {
    404: "There is nothing at this address of the interface.",
    405: "This address does not take that method; the header Allow names those that it takes.",
    413: "The request is larger than this address takes.",
    500: "Portico made a mistake. The log of the web server has it under this request_id.",
}


def install(api: Blueprint) -> None:
    """An address that no other rule takes belongs to the interface too, so that its error is JSON."""
    api.register_error_handler(PortalError, _refused)
    api.register_error_handler(HTTPException, _http)
    api.register_error_handler(Exception, _broken)
    api.after_request(_name)
    for rule in ("", "/", "/<path:rest>"):
        api.add_url_rule(rule, "nowhere", _nowhere, methods=METHODS)


def answer(code: int, sentence: str) -> Response:
    response = jsonify(message=sentence, status_code=code, request_id=_request_id())
    response.status_code = code
    return response


def _refused(error: PortalError) -> Response:
    response = answer(code_of(error), error.sentence)
    if isinstance(error, NotSignedIn):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http(error: HTTPException) -> Response:
    code = error.code or 500
    response = answer(code, SENTENCES.get(code, error.description or error.name))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if code == 429:
        response.headers["Retry-After"] = "60"
    return response


def _broken(error: Exception) -> Response:
    log.error("%s %s failed, request %s", request.method, request.path, _request_id(), exc_info=error)
    return answer(500, SENTENCES[500])


def _name(response: Response) -> Response:
    response.headers["X-Request-Id"] = _request_id()
    return response


def _request_id() -> str:
    if "request_id" not in g:
        g.request_id = uuid.uuid4().hex
    request_id: str = g.request_id
    return request_id


def _nowhere(rest: str = "") -> Response:  # noqa: ARG001 (the rest of the address)
    adapter = current_app.create_url_adapter(request)
    allowed = [] if adapter is None else [name for name in METHODS if _takes(adapter, name)]
    raise MethodNotAllowed(allowed) if allowed else NotFound


def _takes(adapter: MapAdapter, method: str) -> bool:
    rule, _ = adapter.match(request.path, method=method, return_rule=True)
    return rule.endpoint != "api.nowhere"
