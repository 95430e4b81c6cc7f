"""Requests to Azure with Libcloud's connection and signature, or with a token of Entra ID."""

import time
from typing import Any

import requests
from libcloud.common.azure import AZURE_TIME_FORMAT
from libcloud.storage.drivers.azure_blobs import AzureBlobsConnection

from portal.storage_drivers import http_session, tokens
from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.azure import errors
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import Body

_SCOPE = "https://storage.azure.com/.default"


def fetch_token(config: dict[str, Any], secret: str, timeouts: Timeouts) -> tokens.FetchedToken:
    """A token of Entra ID for a client with a secret; the CA of the storage is for an authority of its own only."""
    authority = config.get("authority")
    url = f"{authority or azure_config.DEFAULT_AUTHORITY}/{config['tenant']}/oauth2/v2.0/token"
    form = {"grant_type": "client_credentials", "client_id": config["client"], "client_secret": secret, "scope": _SCOPE}
    ca = config.get("ca", "") if authority else ""
    return tokens.fetch(url, form, errors.sign_in_error, ca=ca, timeouts=timeouts)


class AzureConnection(AzureBlobsConnection):
    """Libcloud's connection; a token, where there is one, replaces the signature."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    token = ""

    def __init__(self, endpoint: Endpoint, account: str, key: bytes) -> None:
        self.driver = type("Driver", (), {"name": "Portico"})
        self.conn_class = http_session.connection_class(endpoint.ca, endpoint.timeouts)
        super().__init__(account, key, secure=endpoint.secure, host=endpoint.host, port=endpoint.port)  # type: ignore[no-untyped-call]

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: Body,
        headers: dict[str, str],
        token: str,
    ) -> requests.Response:
        """The answer to one request; nothing of its body is read yet."""
        self.token = token
        if body:  # the signature covers it
            headers = {**headers, "Content-Length": str(len(body))}
        request: Any = self.request
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path unchanged: Libcloud would resolve what looks like steps in it."""
        return action

    def pre_connect_hook(self, params: Any, headers: Any) -> Any:
        headers["Accept-Encoding"] = "identity"
        if not self.token:
            return super().pre_connect_hook(params, headers)  # type: ignore[no-untyped-call]
        headers["x-ms-date"] = time.strftime(AZURE_TIME_FORMAT, time.gmtime())
        headers["x-ms-version"] = self.API_VERSION
        headers["Authorization"] = f"Bearer {self.token}"
        return params, headers
