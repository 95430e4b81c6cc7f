"""To Google Cloud: its requests by Libcloud's connection, and the token of a service account."""

import base64
import json
import time
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from libcloud.common.base import Connection

from portal.storage_drivers import http, tokens
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.gcs import config, errors
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Body

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_HOUR = 3600


def fetch_token(account: dict[str, str], ca: str, limits: Timeouts) -> tokens.FetchedToken:
    """A token for a service account, which signs the request for it (RFC 7523)."""
    now = int(time.time())
    head = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    claims = {"iss": account["client_email"], "scope": _SCOPE, "aud": account["token_uri"], "iat": now}
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, {**claims, "exp": now + _HOUR}))
    key = config.load_private_key(account["private_key"], is_checked=True)
    signature = key.sign(signed, PKCS1v15(), SHA256())
    form = {"grant_type": _GRANT, "assertion": (signed + b"." + _base64url(signature)).decode()}
    return tokens.fetch(account["token_uri"], form, errors.sign_in_error, ca=ca, limits=limits)


class JsonConnection(Connection):
    """Libcloud's connection with a token of ours: its own would keep tokens in the home folder."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    _accepted: str

    def __init__(self, place: Endpoint) -> None:
        self.driver = type("Driver", (), {"name": "Portico"})
        self.conn_class = http.connection_class(place.ca, place.limits)
        super().__init__(secure=place.secure, host=place.host, port=place.port)  # type: ignore[no-untyped-call]

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: Body,
        headers: dict[str, str],
        token: str,
        limits: Timeouts,
    ) -> requests.Response:
        if self.connection is None:
            self.connect()  # type: ignore[no-untyped-call]
        self.connection.limits = limits
        request: Any = self.request
        self._accepted = headers.get("Accept-Encoding", "identity")
        headers = {**headers, "Authorization": f"Bearer {token}"}
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path as it is: Libcloud would join what looks like steps in it."""
        return action

    def pre_connect_hook(self, params: Any, headers: Any) -> Any:
        headers["Accept-Encoding"] = self._accepted
        return params, headers


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
