"""Requests to S3 with Libcloud's connection and signature, for any host and region."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import requests
from libcloud.common.aws import AWSRequestSignerAlgorithmV4
from libcloud.storage.drivers.s3 import S3SignatureV4Connection

from portal.storage_drivers import http_session
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Body

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class S3Connection(S3SignatureV4Connection):
    """Libcloud's connection; the caller gives the SHA-256 of each body, which the signature covers."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    signer: Any

    def __init__(self, endpoint: Endpoint, region: str, keys: tuple[str, str, str]) -> None:
        self.driver = type("Region", (), {"region_name": region, "name": "Portico"})
        self.conn_class = http_session.connection_class(endpoint.ca, endpoint.timeouts)
        key, secret, token = keys
        super().__init__(key, secret, endpoint.secure, endpoint.host, endpoint.port, token=token)  # type: ignore[no-untyped-call]
        make: Any = _Signer
        self.signer = make(access_key=key, access_secret=secret, version="", connection=self)

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: Body,
        sha256: str,
        headers: dict[str, str],
        timeouts: Timeouts,
    ) -> requests.Response:
        """The answer to one request; nothing of its body is read yet."""
        if self.connection is None:
            self.connect()  # type: ignore[no-untyped-call]
        self.signer.sha256, self.connection.timeouts = sha256, timeouts
        request: Any = self.request
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path unchanged: Libcloud would resolve what looks like steps in it."""
        return action

    def add_default_headers(self, headers: dict[str, str]) -> dict[str, str]:
        if self.token:
            headers["x-amz-security-token"] = self.token
        return headers


class _Signer(AWSRequestSignerAlgorithmV4):
    """Signs a digest that is computed already, and only headers that no proxy changes on the way."""

    sha256 = EMPTY_SHA256

    def get_request_params(self, params: Any, method: Any = "GET", path: Any = "/") -> Any:  # noqa: ARG002
        return params

    def get_request_headers(
        self, params: Any, headers: Any, method: Any = "GET", path: Any = "/", data: Any = None
    ) -> Any:
        now = datetime.now(UTC)
        headers["X-Amz-Date"] = now.strftime("%Y%m%dT%H%M%SZ")
        headers["X-Amz-Content-Sha256"] = self.sha256
        headers["Accept-Encoding"] = "identity"
        signed = {name: value for name, value in headers.items() if re.match("host$|x-amz-", name, re.IGNORECASE)}
        sign: Any = self._get_authorization_v4_header
        headers["Authorization"] = sign(params=params, headers=signed, dt=now, method=method, path=path, data=data)
        return params, headers

    def _get_payload_hash(self, method: Any, data: Any = None) -> str:  # noqa: ARG002 (Libcloud calls it so)
        return self.sha256
