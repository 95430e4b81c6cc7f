"""The Flask application: all tabs and the REST interface."""

from contextlib import ExitStack
from importlib import metadata

from flask import Flask, g, request
from flask_openapi3 import OpenAPI
from werkzeug.routing import IntegerConverter

from portal import runtime, site_settings
from portal.routes import (
    activity,
    api,
    conflicts,
    data,
    devices,
    disk,
    exports,
    first_steps,
    frames,
    help,
    home,
    imports,
    jobs,
    peers,
    projects,
    schedules,
    search,
    session,
    storages,
    trash,
    user_keys,
    users,
)
from portal.routes import (
    settings as settings_tab,
)
from portal.routes.api import docs as api_docs
from portal.routes.api.noun import make_app
from portal.settings import Settings
from portal.web import error_pages, layout, proxy_headers, security_headers, sign_in, template_macros

MAX_FORM_BYTES = 1_000_000
"""The largest form of a page. The REST interface sets its own limit for each request."""

TABS = (
    home,
    disk,
    first_steps,
    data,
    projects,
    frames,
    trash,
    exports,
    schedules,
    imports,
    jobs,
    activity,
    conflicts,
    devices,
    peers,
    storages,
    users,
    user_keys,
    settings_tab,
    session,
    search,
    help,
    api_docs,
)


class RowNumber(IntegerConverter):
    """A row id in an address: a number too large for the database is Not Found rather than an error."""

    regex = r"[1-9][0-9]{0,17}"


def create_app(settings: Settings) -> OpenAPI:
    """The application of a migrated site, in a process that has called `runtime.start`."""
    app = make_app("portal", metadata.version("portico"))
    app.url_map.converters["row"] = RowNumber
    app.config.update(
        {
            "SECRET_KEY": runtime.secrets().derive("session"),
            "SESSION_COOKIE_NAME": "portico",
            "SESSION_COOKIE_SAMESITE": "Lax",
            "SESSION_COOKIE_SECURE": settings.cookie_secure,
            "SESSION_REFRESH_EACH_REQUEST": False,  # otherwise a page that polls would renew its session for ever
            # The site's own limits are shorter: see `sessions`.
            "PERMANENT_SESSION_LIFETIME": site_settings.MAX_SESSION_HOURS * 3600,
            "MAX_CONTENT_LENGTH": MAX_FORM_BYTES,
            "MAX_FORM_MEMORY_SIZE": MAX_FORM_BYTES,
            "WTF_CSRF_TIME_LIMIT": None,  # otherwise a page that is open for an hour could not be sent
            "RATELIMIT_STORAGE_URI": settings.redis_url or f"redis+unix://{runtime.valkey_socket(settings)}",
            "RATELIMIT_IN_MEMORY_FALLBACK_ENABLED": True,  # otherwise nobody could sign in while Valkey is down
        }
    )
    proxy_headers.install(app, settings.trusted_proxies)
    app.before_request(api.authentication.refuse_again)
    _connect_each_request(app)
    sign_in.install(app)
    security_headers.install(app, secure=settings.cookie_secure)
    error_pages.install(app)
    layout.install(app)
    template_macros.install(app)
    for tab in TABS:
        app.register_blueprint(tab.bp)

    # A device sends its key with each request and never a cookie, so there is nothing for CSRF to forge.
    pages = set(app.blueprints)
    api.register(app)
    for name in set(app.blueprints) - pages:
        sign_in.csrf.exempt(app.blueprints[name])
    return app


def _connect_each_request(app: Flask) -> None:
    """Open one database connection for each request, error pages included, but not for a static file."""

    @app.before_request
    def connect() -> None:
        if request.endpoint != "static":
            g.connection = ExitStack()
            g.connection.enter_context(runtime.connection())

    @app.teardown_request
    def close(_error: BaseException | None) -> None:
        if opened := g.pop("connection", None):
            opened.close()
