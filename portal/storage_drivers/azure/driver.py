"""Azure Blob Storage: Libcloud's signing, any endpoint, Entra ID, create-only, blocks that are ours alone."""

import base64
import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import requests
from libcloud.common.azure import AZURE_TIME_FORMAT
from libcloud.storage.drivers.azure_blobs import AzureBlobsConnection

from portal.errors import BadValue, Missing, NotAllowed, PortalError
from portal.storage_drivers import http, tokens, xml_documents
from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.azure import errors
from portal.storage_drivers.connect import Endpoint, endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.store import MIB, Body, ContainerMissing, ListProgress, NamedStep, Part, Stat, Upload
from portal.storage_drivers.tokens import CredentialsRefused, TokenCache

BLOBS_PER_PAGE = 2000
MAX_NAME_LENGTH = 1024
"""Letters of a name."""
_SCOPE = "https://storage.azure.com/.default"


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    limits: Timeouts | None = None,
    page: int = BLOBS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a container. Raises BadValue where there are no credentials."""
    limits = limits or Timeouts()
    place = endpoint(azure_config.endpoint_url(config), ca=config.get("ca", ""), limits=limits)
    key, signs_in = b"", None
    if config.get("client"):
        if not secret.get("client_secret"):
            raise BadValue("The secret of the client is not set. Enter it again.", field="client_secret")
        signs_in = TokenCache(partial(_sign_in, config, secret["client_secret"], limits))
    else:
        key = azure_config.decode_account_key(secret.get("account_key", ""))
    return ObjectStoreDestination(lambda: AzureStore(place, config, key, signs_in, page), prefix=prefix, **options)


def _sign_in(config: dict[str, Any], secret: str, limits: Timeouts) -> tokens.FetchedToken:
    """A token of Entra ID for a client with a secret; an authority of one's own is trusted by the CA of the storage."""
    authority = config.get("authority")
    url = f"{authority or azure_config.DEFAULT_AUTHORITY}/{config['tenant']}/oauth2/v2.0/token"
    form = {"grant_type": "client_credentials", "client_id": config["client"], "client_secret": secret, "scope": _SCOPE}
    ca = config.get("ca", "") if authority else ""
    return tokens.fetch(url, form, errors.sign_in_error, ca=ca, limits=limits)


class AzureStore:
    """One container, of block blobs. Each body goes with its MD5, which the store compares before it keeps it."""

    small = 8 * MIB
    part = 8 * MIB
    mount = ""
    any_order = True
    signs = False
    by_name = False  # by folders, in an account with a hierarchical namespace
    most_parts = 50_000
    longest = 4 * MAX_NAME_LENGTH

    def __init__(
        self,
        place: Endpoint,
        config: dict[str, Any],
        key: bytes,
        signs_in: TokenCache | None,
        page: int = BLOBS_PER_PAGE,
    ) -> None:
        self._page_size = page
        self.create_only: bool | None = config.get("create_only")
        account = config["account"]
        self._container = config["container"]
        self._place = place
        self._tokens = signs_in
        self._base = "" if place.host.startswith(f"{account}.") else f"/{account}"
        self._answers = errors.ResponseReader(self._container, place.host, by_key=signs_in is None)
        self._connection = _Connection(place, account, key)
        self._marks: dict[tuple[str, str], str] = {}

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:  # noqa: ARG002 (others send it)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-MD5": _md5(body), **_condition(overwrite)}
        self._read(self._request("PUT", name, body=body, headers=headers), 201, "write")

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        """Nothing is sent: blocks wait under the name of the blob, told apart by a random beginning of their ids."""
        return Upload(name, secrets.token_hex(16), size, overwrite)

    def send(self, upload: Upload, part: Part) -> None:
        block = base64.b64encode(f"{upload.id}{part.number:08d}".encode()).decode()
        params = {"comp": "block", "blockid": block}
        answer = self._request("PUT", upload.name, params, body=part.body, headers={"Content-MD5": _md5(part.body)})
        self._read(answer, 201, "write")
        upload.parts[part.number] = block

    def finish(self, upload: Upload) -> None:
        blocks = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in upload.answers)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()
        headers = {"Content-MD5": _md5(body), **_condition(upload.overwrite)}
        self._read(self._request("PUT", upload.name, {"comp": "blocklist"}, body=body, headers=headers), 201, "write")

    def abort(self, upload: Upload) -> None:
        """Nothing: Azure knows no such request. Blocks that no list names vanish by themselves after a week."""

    def unfinished(self, prefix: str) -> Iterator[Upload]:  # noqa: ARG002 (others ask for it)
        """None, since none could be aborted."""
        return iter(())

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        part = http.range_header(offset, size)
        answer = self._request("GET", name, headers={"x-ms-range": part} if part else {})
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._place.limits, failure, is_part=bool(part))

    def stat(self, name: str) -> Stat | None:
        answer = self._request("HEAD", name)
        try:
            self._read(answer, 200, "read", name)
        except Missing:
            return None
        size = xml_documents.byte_count(answer.headers.get("Content-Length", ""))
        if size is None:
            raise self._answers.strange()
        return Stat(name, size)

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", name), 202, "delete", name)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        """Azure goes on only where a page of its own has ended; what comes up to any other `after` is passed over.

        An account with a hierarchical namespace lists by folders: a list of it can go on only in the same store.
        """
        last, marker = after, self._marks.get((prefix, after), "")
        passed = "" if marker else after
        marks, ends = ListProgress(), ListProgress()
        marks.require(marker)
        while True:
            found, following = self._page(prefix, marker, self._page_size)
            if following:
                marks.require(following)
            if found:
                ends.require(found[-1].key)
            found = [stat for stat in found if stat.key.startswith(prefix)]
            if passed:
                found = self._later(found, passed)
            yield found
            if not following:
                return
            last, marker = found[-1].key if found else last, following
            self._marks = {(prefix, last): marker}

    def _later(self, found: Sequence[Stat], after: str) -> list[Stat]:
        names = [stat.key.encode() for stat in found]
        if names != sorted(names):
            message = "does not list by name, as an account with a hierarchical namespace"
            raise NotAllowed(f"The container {self._container} {message}. Use one without it.")
        return [stat for stat, name in zip(found, names, strict=True) if name > after.encode()]

    def steps(self) -> Sequence[NamedStep]:
        return [*self._place.steps(), ("Signed in", self._signed_in), ("Container found", self._found)]

    def _signed_in(self) -> str:
        try:
            self._page("portico-test-", "", 1)
        except CredentialsRefused:
            raise
        except (NotAllowed, ContainerMissing):
            pass
        return "The client is known, and its secret fits." if self._tokens else "The key fits the account."

    def _found(self) -> str:
        with suppress(NotAllowed):  # the next step says what the account may do
            self._page("portico-test-", "", 1)
        return f"The container {self._container} is there."

    def _page(self, prefix: str, marker: str, most: int) -> tuple[Sequence[Stat], str]:
        # Libcloud signs values without the spaces at their ends, so none is sent with any.
        asked = prefix.rstrip() if prefix == prefix.lstrip() else ""
        params = {"restype": "container", "comp": "list", "prefix": asked, "maxresults": str(most), "marker": marker}
        answer = self._request("GET", None, {name: value for name, value in params.items() if value})
        return self._answers.page(self._read(answer, 200, "list"))

    def _request(
        self,
        method: str,
        name: str | None,
        params: dict[str, str] | None = None,
        *,
        body: Body = b"",
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """The answer to one signed request about a blob, or the container; nothing of its body is read yet."""
        path = f"{self._base}/{self._container}{'' if name is None else _quoted(name)}"
        token = self._tokens.value() if self._tokens else ""
        answer = self._connection.send(method, path, params or {}, body, headers or {}, token)
        if answer.status_code == 401 and self._tokens and self._tokens.forget(token):
            http.drain(answer, self._place.limits)
            answer = self._connection.send(method, path, params or {}, body, headers or {}, self._tokens.value())
        return answer

    def _read(self, answer: requests.Response, status: int, what: str, name: str = "") -> bytes:
        """The body of an answer that went well. Raises what the store says else."""
        if answer.status_code != status:
            raise self._failure(answer, what, name)
        return http.read_body(answer, self._place.limits)

    def _failure(self, answer: requests.Response, what: str, name: str = "") -> PortalError:
        return self._answers.failure(answer, http.read_error_body(answer, self._place.limits), what, name)


class _Connection(AzureBlobsConnection):
    """Libcloud's connection and signature; with a token, that stands in place of the signature."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    token = ""

    def __init__(self, place: Endpoint, account: str, key: bytes) -> None:
        self.driver = type("Driver", (), {"name": "Portico"})
        self.conn_class = http.connection_class(place.ca, place.limits)
        super().__init__(account, key, secure=place.secure, host=place.host, port=place.port)  # type: ignore[no-untyped-call]

    def send(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        body: Body,
        headers: dict[str, str],
        token: str,
    ) -> requests.Response:
        self.token = token
        if body:  # the signature covers it
            headers = {**headers, "Content-Length": str(len(body))}
        request: Any = self.request
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path as it is: Libcloud would join what looks like steps in it."""
        return action

    def pre_connect_hook(self, params: Any, headers: Any) -> Any:
        headers["Accept-Encoding"] = "identity"
        if not self.token:
            return super().pre_connect_hook(params, headers)  # type: ignore[no-untyped-call]
        headers["x-ms-date"] = time.strftime(AZURE_TIME_FORMAT, time.gmtime())
        headers["x-ms-version"] = self.API_VERSION
        headers["Authorization"] = f"Bearer {self.token}"
        return params, headers


def _quoted(name: str) -> str:
    """The name in a path. Raises BadValue for one that Azure would take for another, or not at all."""
    if "\\" in name or any(part.endswith(".") for part in name.split("/")) or name.endswith(" "):
        raise _no_name(name, "Azure changes a backslash, and a dot at the end of a part")
    if len(name) > MAX_NAME_LENGTH:
        raise _no_name(name, f"it has {len(name):,} letters, and Azure takes {MAX_NAME_LENGTH:,}")
    try:
        return f"/{quote(name, safe='/~')}"
    except UnicodeEncodeError as error:
        raise _no_name(name, "Azure wants UTF-8 text") from error


def _no_name(name: str, why: str) -> BadValue:
    return BadValue(f"{name[:60]!r} cannot be the name of an object: {why}.")


def _condition(overwrite: bool) -> dict[str, str]:
    return {} if overwrite else {"If-None-Match": "*"}


def _md5(body: Body) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
