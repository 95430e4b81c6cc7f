"""What a person reads when a page cannot be given: the one table of HTTP codes, and a page in words."""

import logging

from flask import Flask, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from portal import errors
from portal.routes.pages import render

log = logging.getLogger(__name__)

CODES: tuple[tuple[type[errors.PortalError], int], ...] = (
    (errors.Missing, 404),
    (errors.NotSignedIn, 401),
    (errors.NotAllowed, 403),
    (errors.NoSpace, 507),
    (errors.Unreachable, 503),
    (errors.Damaged, 500),
    (errors.Taken, 409),
    (errors.Busy, 409),
    (errors.Conflicting, 409),
    (errors.PortalError, 422),
)
WORDS = {
    400: ("That did not arrive whole", "The browser sent something that Portico cannot read. Go back and try again."),
    403: ("Not for you", "Your account may not open this. Ask a site admin."),
    404: ("There is no such page", "The address is mistyped, or what stood here was removed."),
    405: ("That is not done here", "This address does not take that kind of request. Go back to the page before."),
    413: ("That is too large", "A form has at most 1 MB. Files are put in over the REST interface."),
    429: ("Too many attempts", "Wait ten minutes, then try again."),
    500: ("Portico made a mistake", "Nothing was changed. The log of the web server says what happened."),
    503: ("Portico is busy", "A part of it does not answer at the moment. Try again in a minute."),
}
STALE = (
    "This page was too old",
    "It was opened before the last sign-in, so nothing was changed. Open the page again and repeat what you did.",
)


def code_of(error: errors.PortalError) -> int:
    return next(code for kind, code in CODES if isinstance(error, kind))


def install(app: Flask) -> None:
    app.register_error_handler(errors.PortalError, _refused)
    app.register_error_handler(CSRFError, _stale)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _broken)


def _refused(error: errors.PortalError) -> Response:
    code = code_of(error)
    return _page(code, WORDS.get(code, ("That cannot be done", ""))[0], error.sentence)


def _stale(_error: CSRFError) -> Response:
    return _page(400, *STALE)


def _http(error: HTTPException) -> Response:
    code = error.code or 500
    if code < 400:
        return error.get_response()
    response = _page(code, *WORDS.get(code, (error.name, error.description or "")))
    for name in ("Allow", "Retry-After"):
        if value := error.get_response().headers.get(name):
            response.headers[name] = value
    return response


def _broken(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _page(500, *WORDS[500])


def _page(code: int, title: str, sentence: str) -> Response:
    return render("problem.html", partial="_problem.html", code=code, title=title, sentence=sentence, status=code)
