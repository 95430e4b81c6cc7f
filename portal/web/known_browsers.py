"""Browsers that have signed in before: failed attempts of others do not lock the user out there."""

import secrets
from typing import Any

from flask import current_app, g, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

COOKIE = "portico_known"
COOKIE_SECONDS = 365 * 24 * 3600
"""Seconds for which a browser is known after its last sign-in."""
MAX_ACCOUNTS = 20
"""Accounts that one browser remembers: several people share a workstation."""


def remember(response: Response, account: int) -> Response:
    """Set a cookie that says that this account has signed in with this browser."""
    known = _cookie()
    accounts = [account, *(other for other in known["accounts"] if other != account)][:MAX_ACCOUNTS]
    response.set_cookie(
        COOKIE,
        _serializer().dumps({"browser": known["browser"], "accounts": accounts}),
        max_age=COOKIE_SECONDS,
        path=url_for("session.sign_in"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return response


def is_known(account: int | None) -> bool:
    """Whether this account has signed in with this browser."""
    return account is not None and account in _cookie()["accounts"]


def browser() -> str:
    """The random ID of this browser."""
    named: str = _cookie()["browser"]
    return named


def _cookie() -> dict[str, Any]:
    """The content of the cookie, read once per request; that of a new browser if it is absent or not signed by us."""
    if "known_browser" not in g:
        try:
            g.known_browser = _serializer().loads(request.cookies.get(COOKIE, ""), max_age=COOKIE_SECONDS)
        except BadData:
            g.known_browser = {"browser": secrets.token_hex(8), "accounts": []}
    cookie: dict[str, Any] = g.known_browser
    return cookie


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="known browser")
