"""Authentication of pages: sessions, the site admin role, CSRF protection and rate limits."""

import math
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, flash, g, redirect, request, session, url_for
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.wrappers import Response as BaseResponse

from portal import site_settings
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import NotAllowed
from portal.users import sessions, users

View = TypeVar("View", bound=Callable[..., Any])

csrf = CSRFProtect()
limiter = Limiter(key_func=get_remote_address)
_login = LoginManager()


class SessionUser(UserMixin):  # type: ignore[misc]
    """A user as Flask-Login needs it."""

    def __init__(self, user: Any) -> None:
        self.user = user

    def get_id(self) -> str:
        return users.session_id(self.user)


BEFORE_A_PASSWORD_IS_CHOSEN = ("session.password", "session.change_password", "session.sign_out")
"""The pages of a user whose password was generated."""
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


def install(app: Flask) -> None:
    app.before_request(_require_form_body)
    csrf.init_app(app)
    limiter.init_app(app)
    _login.init_app(app)


@_login.user_loader  # type: ignore[untyped-decorator]
def _load(session_id: str) -> SessionUser | None:
    if message := sessions.expiry_message(session.get("began"), session.get("seen"), site_options()):
        g.session_over = message
        return None
    user = users.for_session(session_id)
    if user is None:
        return None

    # A page or a form is activity of a person; a request that htmx sends automatically is not.
    if not request.headers.get("HX-Request") and sessions.timestamp() - session["seen"] >= sessions.LAST_SEEN_INTERVAL:
        session["seen"] = sessions.timestamp()
    return SessionUser(user)


def _require_form_body() -> None:
    """Refuse other bodies than forms: Flask-WTF would also read JSON, whose values are of any type and which the rate
    limit by account does not see. A referrer that Flask-WTF cannot parse is refused too."""
    if request.method != "POST" or request.blueprint is None or request.blueprint.split(".")[0] == "api":
        return
    if _path_of(request.referrer or "") is None:
        raise BadRequest
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if has_body and request.mimetype not in FORM_TYPES:
        raise UnsupportedMediaType


def local_path(wanted: str) -> str:
    """The address to redirect to if it is a path of this site; else empty."""
    is_path = wanted.startswith("/") and not wanted.startswith("//")  # two slashes begin the name of another host
    return wanted if is_path and wanted.isprintable() and "\\" not in wanted else ""


def _path_of(url: str) -> str | None:
    """The path of a URL; None if it cannot be parsed."""
    try:
        return urlsplit(url).path
    except ValueError:
        return None


def site_options() -> dict[str, Any]:
    """The site settings, read once per request."""
    if "options" not in g:
        g.options = site_settings.get_all()
    settings: dict[str, Any] = g.options
    return settings


def begin_session(user: Any) -> None:
    """Start a new session with a new CSRF token, without any value of the old one."""
    session.clear()
    session.permanent = True
    session["began"] = session["seen"] = sessions.timestamp()
    login_user(SessionUser(user))


@_login.unauthorized_handler  # type: ignore[untyped-decorator]
def _send_to_sign_in() -> BaseResponse:
    """Redirect to the sign-in page, and from there back. htmx needs a header for a redirect of the whole page."""
    if message := g.pop("session_over", ""):
        session.clear()
        flash(message, "bad")
    if request.headers.get("HX-Request"):
        wanted: str | None = _path_of(request.headers.get("HX-Current-URL", ""))
    else:
        wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return _send_to(url_for("session.sign_in", next=wanted if wanted != "/" else None))


def _send_to(address: str) -> BaseResponse:
    """Redirect the whole page, also where htmx asked for a part of it."""
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": address})
    return redirect(address, 303)


def signed_in_required(view: View) -> View:
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not current_user.is_authenticated:
            return _login.unauthorized()
        if current_user.user.must_change_password and request.endpoint not in BEFORE_A_PASSWORD_IS_CHOSEN:
            return _send_to(url_for("session.password"))
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def site_admin_required(view: View) -> View:
    @wraps(view)
    @signed_in_required
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not current_user.user.is_admin:
            raise NotAllowed("Only site admins have access to this page.")
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def is_admin() -> bool:
    """Whether a site admin is signed in."""
    return bool(current_user.is_authenticated and current_user.user.is_admin)


def current_actor() -> Actor:
    """The signed-in user as the actor of this request."""
    return users.actor(current_user.user, client_address())


def current_scope() -> rights.Scope:
    """What the signed-in user has access to, read once per request."""
    if "scope" not in g:
        g.scope = rights.scope(current_actor())
    scope: rights.Scope = g.scope
    return scope


def seconds_to_wait() -> int:
    """Until the rate limit that this request has reached counts from zero again."""
    limit = limiter.current_limit
    return max(1, math.ceil(limit.reset_at - time.time())) if limit else 60


def client_address() -> str:
    return request.remote_addr or ""
