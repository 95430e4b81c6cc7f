"""Error pages: the HTTP status code, title and message of every error."""

import logging

from flask import Flask, current_app, make_response, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from portal import errors, runtime
from portal.web import sign_in
from portal.web.render import render

log = logging.getLogger(__name__)

STATUS_CODES: tuple[tuple[type[errors.PortalError], int], ...] = (
    (errors.Missing, 404),
    (errors.NotSignedIn, 401),
    (errors.NotAllowed, 403),
    (errors.NoSpace, 507),
    (errors.Unreachable, 503),
    (errors.Purged, 410),
    # Temporary: once the segment is restored from a backup, the same request succeeds.
    (errors.Damaged, 503),
    (errors.Taken, 409),
    (errors.Busy, 409),
    (errors.Conflicting, 409),
    (errors.PortalError, 422),
)
MESSAGES = {
    400: ("Bad request", "Portico cannot read what the browser sent. Go back and try again."),
    403: ("Access denied", "You do not have access to this page. Ask a site admin."),
    404: ("Page not found", "The address is wrong, or the page was removed."),
    405: ("Method not allowed", "This address does not support that kind of request. Go back to the previous page."),
    410: ("Purged", "The data was permanently deleted."),
    415: ("Unsupported content type", "Pages accept only forms. Programs use the REST interface under /api."),
    413: ("Request too large", "A form has at most 1 MB. Upload files over the REST interface."),
    429: ("Too many attempts", "Wait ten minutes, then try again."),
    500: ("Internal error", "Nothing was changed. The log of the web server has the details."),
    503: ("Portico is busy", "A part of it does not respond at the moment. Try again in a minute."),
}
DAMAGED_BYTES = "Damaged data"
BUSY = (
    "Portico is busy",
    "The database is locked by another write. Nothing was changed. Try again in a few seconds.",
)
BUSY_SECONDS = "5"
"""Retry-After of a request that timed out waiting for the database."""
FULL = (
    "The disk is full",
    "Nothing was changed. Free some space on the server, then try again. Existing data can still be read.",
)
DAMAGED = (
    "The database is damaged",
    "Nothing was changed. Restart Portico: at the start it reports what to restore.",
)
STALE_FORM = (
    "This page has expired",
    "It was opened before the last sign-in. Nothing was changed. Reload the page and try again.",
)


def status_code(error: errors.PortalError) -> int:
    return next(code for kind, code in STATUS_CODES if isinstance(error, kind))


def server_trouble(error: Exception) -> tuple[int, str, str] | None:
    """Status code, title and message if the database is busy or damaged, or the disk is full; else None."""
    if runtime.is_busy(error):
        return 503, *BUSY
    if runtime.is_damaged(error):
        return 500, *DAMAGED
    return (507, *FULL) if runtime.is_full(error) else None


def install(app: Flask) -> None:
    @app.errorhandler(errors.PortalError)
    def refused(error: errors.PortalError) -> Response:
        code = status_code(error)
        is_damage = isinstance(error, errors.Damaged) and not isinstance(error, errors.Purged)
        title = DAMAGED_BYTES if is_damage else MESSAGES.get(code, ("Not possible", ""))[0]
        return _page(code, title, error.message)

    @app.errorhandler(CSRFError)
    def stale_form(_error: CSRFError) -> Response:
        return _page(400, *STALE_FORM)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        code = error.code or 500
        if code < 400:
            return error.get_response()
        response = _page(code, *MESSAGES.get(code, (error.name, error.description or "")))
        for name in ("Allow", "Retry-After"):
            if value := error.get_response().headers.get(name):
                response.headers[name] = value
        if code == 429:
            response.headers["Retry-After"] = str(sign_in.seconds_to_wait())
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        if trouble := server_trouble(error):
            return _trouble_page(error, *trouble)
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return _page(500, *MESSAGES[500])


def _trouble_page(error: Exception, code: int, title: str, message: str) -> Response:
    log.warning("%s %s was refused: %s (%s)", request.method, request.path, title, error)
    try:
        response = _page(code, title, message)
    except Exception as again:
        if not server_trouble(again):
            raise
        # The frame of a page is read from the same database, so this page has none.
        template = current_app.jinja_env.get_template("problem_without_frame.html")
        response = make_response(template.render(title=title, message=message), code)

    if code == 503:
        response.headers["Retry-After"] = BUSY_SECONDS
    return response


def _page(code: int, title: str, message: str) -> Response:
    return render("problem.html", partial="_problem.html", code=code, title=title, message=message, status=code)
