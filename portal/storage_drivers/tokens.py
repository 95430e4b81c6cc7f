"""Bearer tokens of cloud providers: fetched within our own time-outs, kept in memory alone, renewed before they end."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from portal.errors import NotAllowed, PortalError, Unreachable
from portal.storage_drivers import connect, http
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Interrupted

RENEW_BEFORE_END = 300.0
"""Seconds before its end at which a token is no longer used."""
MIN_AGE_TO_RENEW = 60.0
"""Seconds within which a token that is refused would be no better if it were fetched anew."""
MAX_ANSWER_SIZE = 64 * 1024
FetchedToken = tuple[str, float]


class CredentialsRefused(NotAllowed):
    """The store, or who signs in for it, does not take the credentials."""


class TokenCache:
    """The token of one account; the stores of all threads share it."""

    def __init__(self, fetch: Callable[[], FetchedToken]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token = ""
        self._fetched = self._until = 0.0

    def value(self) -> str:
        """A token that is good for some minutes. Raises NotSignedIn, or as a store does where none is to be had."""
        with self._lock:
            now = time.monotonic()
            if not self._token or now > self._until - RENEW_BEFORE_END:
                self._token, seconds = self._fetch()
                self._fetched, self._until = now, now + max(seconds, RENEW_BEFORE_END + MIN_AGE_TO_RENEW)
            return self._token

    def forget(self, token: str) -> bool:
        """A store refused this token: whether another one may do better."""
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
    explain: Callable[[str, Mapping[str, Any]], PortalError],
    *,
    ca: str = "",
    limits: Timeouts,
) -> FetchedToken:
    """A token and for how many seconds it is good (RFC 6749, 4.4 and RFC 7523, 2.1); `explain` puts a refusal in words.

    What is sent and what comes back never stands in an error.
    """
    parts = urlsplit(url)
    place = connect.endpoint(f"{parts.scheme}://{parts.netloc}", ca=ca, limits=limits)
    request = requests.Request("POST", url, data=dict(form), headers={"Accept": "application/json"})
    with http.open_session(ca, limits, secure=place.secure) as session:
        answer = http.send(session, request, limits)
        content = http.read_body(answer, limits, MAX_ANSWER_SIZE)
    if answer.status_code >= 500 or answer.status_code == 429:
        message = f"{place.host}, which signs in, cannot just now (HTTP {answer.status_code})."
        raise Interrupted(message, after=http.retry_after(answer))
    said = _said(content)
    token, seconds = said.get("access_token"), said.get("expires_in", 3600)
    if answer.status_code == 200 and isinstance(token, str) and token.isascii() and str(seconds).isdigit():
        return token, float(seconds)
    if isinstance(said.get("error"), str):
        raise explain(place.host, said)
    raise Unreachable(f"{place.host} answers, but not as a server that signs in. Check its address.", permanent=True)


def _said(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
