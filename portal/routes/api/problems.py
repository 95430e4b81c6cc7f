"""Every error of the REST interface as JSON: {message, status_code, request_id}."""

import logging
import uuid
from collections.abc import Callable

from flask import Blueprint, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.wrappers import Response

from portal.errors import NotSignedIn, PortalError, Taken
from portal.web import sign_in
from portal.web.error_pages import BUSY_SECONDS, server_trouble, status_code

log = logging.getLogger(__name__)

PREFIXES = ("/api/", "/xfer/", "/io-proxy/", "/snapshot/")
"""Where programs ask, and only programs: whatever is not there is said in JSON."""

MESSAGES = {
    404: "The REST interface has no such address: what it asks for is not part of Portico.",
    405: "Method not allowed. The header Allow lists the allowed methods.",
    413: "The request is too large for this address.",
    500: "Internal error. The log of the web server has the details under this request_id.",
}


def install(api: Blueprint) -> None:
    api.register_error_handler(PortalError, _refused)
    api.register_error_handler(HTTPException, _http)
    api.register_error_handler(Exception, _broken)
    api.after_request(_name)


def unknown_address(authenticate: Callable[[], None]) -> Response | None:
    """The response to an unknown address or method of programs, for authenticated callers only."""
    problem = request.routing_exception
    if problem is None or (problem.code or 0) < 400 or not f"{request.path}/".startswith(PREFIXES):
        return None
    try:
        authenticate()
    except PortalError as error:
        return _refused(error)
    except HTTPException as error:
        return _http(error)
    return _http(problem)


def answer(code: int, message: str, **more: str) -> Response:
    response = jsonify(message=message, status_code=code, request_id=_request_id(), **more)
    response.status_code = code
    return _name(response)


def _refused(error: PortalError) -> Response:
    existing = error.existing if isinstance(error, Taken) else ""
    response = answer(status_code(error), error.message, **({"_id": existing} if existing else {}))
    if isinstance(error, NotSignedIn):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http(error: HTTPException) -> Response:
    code = error.code or 500
    response = answer(code, MESSAGES.get(code, error.description or error.name))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if code == 429:
        response.headers["Retry-After"] = str(getattr(error, "retry_after", None) or sign_in.seconds_to_wait())
    return response


def _broken(error: Exception) -> Response:
    if words := server_trouble(error):
        code, title, message = words
        log.warning("%s %s was refused: %s (%s)", request.method, request.path, title, error)
        response = answer(code, message)
        if code == 503:
            response.headers["Retry-After"] = BUSY_SECONDS
        return response
    log.error("%s %s failed, request %s", request.method, request.path, _request_id(), exc_info=error)
    return answer(500, MESSAGES[500])


def _name(response: Response) -> Response:
    response.headers["X-Request-Id"] = _request_id()
    return response


def _request_id() -> str:
    if "request_id" not in g:
        g.request_id = uuid.uuid4().hex
    request_id: str = g.request_id
    return request_id
