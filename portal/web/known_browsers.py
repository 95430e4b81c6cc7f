"""Browsers that have signed in before: others who guess at an account do not lock its owner out there."""

import secrets
from typing import Any

from flask import current_app, g, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

COOKIE = "portico_known"
COOKIE_SECONDS = 365 * 24 * 3600
"""Seconds for which a browser is known after its last sign-in."""
MAX_ACCOUNTS = 20
"""Of one browser: several people share a workstation."""


def remember(response: Response, account: int) -> Response:
    """Have the browser say from now on that this account has signed in with it."""
    told = _told()
    accounts = [account, *(other for other in told["accounts"] if other != account)][:MAX_ACCOUNTS]
    response.set_cookie(
        COOKIE,
        _serializer().dumps({"browser": told["browser"], "accounts": accounts}),
        max_age=COOKIE_SECONDS,
        path=url_for("session.sign_in"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return response


def is_known(account: int | None) -> bool:
    """Whether this account has signed in with this browser."""
    return account is not None and account in _told()["accounts"]


def browser() -> str:
    """What tells this browser from others that are known."""
    named: str = _told()["browser"]
    return named


def _told() -> dict[str, Any]:
    """What the browser's cookie says, once a request; a new browser's where it says nothing that we have signed."""
    if "known_browser" not in g:
        try:
            g.known_browser = _serializer().loads(request.cookies.get(COOKIE, ""), max_age=COOKIE_SECONDS)
        except BadData:
            g.known_browser = {"browser": secrets.token_hex(8), "accounts": []}
    told: dict[str, Any] = g.known_browser
    return told


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="known browser")
