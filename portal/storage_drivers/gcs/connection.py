"""Requests to Google Cloud with Libcloud's connection, and the token of a service account."""

import base64
import json
import time
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from libcloud.common.base import Connection

from portal.storage_drivers import http_session, tokens
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.gcs import config as gcs_config
from portal.storage_drivers.gcs import errors
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Body

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_SECONDS = 3600


def fetch_token(account: dict[str, str], ca: str, timeouts: Timeouts) -> tokens.FetchedToken:
    """A token for a service account, which signs the request for it (RFC 7523)."""
    now = int(time.time())
    header = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    claims = {"iss": account["client_email"], "scope": _SCOPE, "aud": account["token_uri"], "iat": now}
    claims["exp"] = now + _TOKEN_SECONDS
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    key = gcs_config.load_private_key(account["private_key"], is_checked=True)
    signature = key.sign(signed, PKCS1v15(), SHA256())
    form = {"grant_type": _GRANT_TYPE, "assertion": (signed + b"." + _base64url(signature)).decode()}
    return tokens.fetch(account["token_uri"], form, errors.sign_in_error, ca=ca, timeouts=timeouts)


class GCSConnection(Connection):
    """Libcloud's connection with a token of ours: Libcloud would keep its tokens in the home folder."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    _accept_encoding: str

    def __init__(self, endpoint: Endpoint) -> None:
        self.driver = type("Driver", (), {"name": "Portico"})
        self.conn_class = http_session.connection_class(endpoint.ca, endpoint.timeouts)
        super().__init__(secure=endpoint.secure, host=endpoint.host, port=endpoint.port)  # type: ignore[no-untyped-call]

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: Body,
        headers: dict[str, str],
        token: str,
        timeouts: Timeouts,
    ) -> requests.Response:
        """The answer to one request; nothing of its body is read yet."""
        if self.connection is None:
            self.connect()  # type: ignore[no-untyped-call]
        self.connection.timeouts = timeouts
        self._accept_encoding = headers.get("Accept-Encoding", "identity")
        headers = {**headers, "Authorization": f"Bearer {token}"}
        request: Any = self.request
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path unchanged: Libcloud would resolve what looks like steps in it."""
        return action

    def pre_connect_hook(self, params: Any, headers: Any) -> Any:
        headers["Accept-Encoding"] = self._accept_encoding
        return params, headers


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
