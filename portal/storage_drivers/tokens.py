"""Bearer tokens of cloud providers: fetched with our own time-outs, kept in memory only, renewed before they expire."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from portal.errors import PortalError, Unreachable
from portal.storage_drivers import connect, http, http_session
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Interrupted

RENEW_BEFORE_END = 300.0
"""Seconds before its end at which a token is no longer used."""
MIN_AGE_TO_RENEW = 60.0
"""A refused token that is younger than this many seconds is not fetched again."""
MAX_ANSWER_SIZE = 64 * 1024
FetchedToken = tuple[str, float]
"""A token, and for how many seconds it is valid."""


class TokenCache:
    """The token of one account; the stores of all threads share it."""

    def __init__(self, fetch: Callable[[], FetchedToken]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token = ""
        self._fetched = self._until = 0.0

    def value(self) -> str:
        """A token that is valid for some minutes. Raises CredentialsRefused, or as a store where none is issued."""
        with self._lock:
            now = time.monotonic()
            if not self._token or now > self._until - RENEW_BEFORE_END:
                self._token, seconds = self._fetch()
                self._fetched, self._until = now, now + max(seconds, RENEW_BEFORE_END + MIN_AGE_TO_RENEW)
            return self._token

    def discard(self, token: str) -> bool:
        """A store refused this token: whether another one may be accepted."""
        with self._lock:
            if token != self._token:
                return True
            if time.monotonic() - self._fetched < MIN_AGE_TO_RENEW:
                return False
            self._token = ""
            return True


def fetch(
    url: str,
    form: Mapping[str, str],
    refusal: Callable[[str, Mapping[str, Any]], PortalError],
    *,
    ca: str = "",
    timeouts: Timeouts,
) -> FetchedToken:
    """Request a token (RFC 6749, 4.4 and RFC 7523, 2.1); `refusal` makes the error of what the server refuses.

    No error contains what is sent or what comes back.
    """
    parts = urlsplit(url)
    endpoint = connect.endpoint(f"{parts.scheme}://{parts.netloc}", ca=ca, timeouts=timeouts)
    request = requests.Request("POST", url, data=dict(form), headers={"Accept": "application/json"})
    with http_session.open_session(ca, timeouts, secure=endpoint.secure) as session:
        answer = http.send(session, request, timeouts)
        content = http.read_body(answer, timeouts, MAX_ANSWER_SIZE)
    if answer.status_code >= 500 or answer.status_code == 429:
        message = f"{endpoint.host}, which issues the tokens, is temporarily unavailable (HTTP {answer.status_code})."
        raise Interrupted(message, retry_after=http.retry_after(answer))

    try:
        document = json.loads(content)
    except ValueError:
        document = {}
    fields: Mapping[str, Any] = document if isinstance(document, dict) else {}
    token, seconds = fields.get("access_token"), fields.get("expires_in", 3600)
    if answer.status_code == 200 and isinstance(token, str) and token.isascii() and str(seconds).isdigit():
        return token, float(seconds)
    if isinstance(fields.get("error"), str):
        raise refusal(endpoint.host, fields)
    raise Unreachable(f"{endpoint.host} answers, but not like a token server. Check its address.", permanent=True)
