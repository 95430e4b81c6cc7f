"""Azure Blob Storage: Libcloud's signature or Entra ID, any endpoint, create-only, blocks under ids of our own."""

import base64
import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import requests

from portal.errors import BadValue, Missing, NotAllowed, PortalError
from portal.storage_drivers import connect, http, xml_documents
from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.azure import errors
from portal.storage_drivers.azure.connection import AzureConnection, fetch_token
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.store import MIB, Body, ListProgress, NamedStep, Part, Stat, Upload
from portal.storage_drivers.tokens import TokenCache

BLOBS_PER_PAGE = 2000
MAX_NAME_LENGTH = 1024
"""Characters of a name."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    timeouts: Timeouts | None = None,
    page_size: int = BLOBS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a container. Raises BadValue where there are no credentials."""
    timeouts = timeouts or Timeouts()
    endpoint = connect.endpoint(azure_config.endpoint_url(config), ca=config.get("ca", ""), timeouts=timeouts)
    key, tokens = b"", None
    if config.get("client"):
        if not secret.get("client_secret"):
            raise BadValue("The client secret is not set. Enter it again.", field="client_secret")
        tokens = TokenCache(partial(fetch_token, config, secret["client_secret"], timeouts))
    else:
        key = azure_config.decode_account_key(secret.get("account_key", ""))
    return ObjectStoreDestination(
        lambda: AzureStore(endpoint, config, key, tokens, page_size), prefix=prefix, **options
    )


class AzureStore:
    """One container, of block blobs. Each body is sent with its MD5, which the store compares before it keeps it."""

    mount = ""
    lists_by_name = False  # by folders, in an account with a hierarchical namespace
    max_name_bytes = 4 * MAX_NAME_LENGTH
    max_put_size = 8 * MIB
    min_part_size = 8 * MIB
    max_parts = 50_000
    any_part_order = True
    needs_part_digest = False

    def __init__(
        self,
        endpoint: Endpoint,
        config: dict[str, Any],
        key: bytes,
        tokens: TokenCache | None,
        page_size: int = BLOBS_PER_PAGE,
    ) -> None:
        self.create_only: bool | None = config.get("create_only")
        self._page_size = page_size
        self._container = config["container"]
        self._base = "" if endpoint.host.startswith(f"{config['account']}.") else f"/{config['account']}"
        self._endpoint = endpoint
        self._tokens = tokens
        self._responses = errors.ResponseReader(self._container, endpoint.host, by_key=tokens is None)
        self._connection = AzureConnection(endpoint, config["account"], key)
        self._next_marker: dict[tuple[str, str], str] = {}
        """By prefix and last name: where the list of this store continues."""

    def steps(self) -> Sequence[NamedStep]:
        account_steps = connect.account_steps(
            lambda: self._page("portico-test-", "", 1),
            credentials="The client is known, and its secret is correct."
            if self._tokens
            else "The key belongs to the account.",
            container=f"container {self._container}",
        )
        return [*self._endpoint.steps(), *account_steps]

    def stat(self, name: str) -> Stat | None:
        answer = self._request("HEAD", name)
        try:
            self._read(answer, 200, "read", name)
        except Missing:
            return None
        size = xml_documents.byte_count(answer.headers.get("Content-Length", ""))
        if size is None:
            raise self._responses.unexpected()
        return Stat(name, size)

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        part = http.range_header(offset, size)
        answer = self._request("GET", name, headers={"x-ms-range": part} if part else {})
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._endpoint.timeouts, failure, is_range=bool(part))

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        """Azure continues a list only where one of its own pages has ended; up to any other `after` names are skipped.

        An account with a hierarchical namespace lists by folders: its list can continue only in the same store.
        """
        last, marker = after, self._next_marker.get((prefix, after), "")
        skip_to = "" if marker else after
        markers, ends = ListProgress(), ListProgress()
        markers.require(marker)
        while True:
            stats, following = self._page(prefix, marker, self._page_size)
            if following:
                markers.require(following)
            if stats:
                ends.require(stats[-1].key)
            stats = [stat for stat in stats if stat.key.startswith(prefix)]
            if skip_to:
                names = [stat.key.encode() for stat in stats]
                if names != sorted(names):
                    what = "does not list by name, as an account with a hierarchical namespace"
                    raise NotAllowed(f"The container {self._container} {what}. Use one without it.")
                stats = [stat for stat, name in zip(stats, names, strict=True) if name > skip_to.encode()]
            yield stats
            if not following:
                return
            last, marker = stats[-1].key if stats else last, following
            self._next_marker = {(prefix, last): marker}

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", name), 202, "delete", name)

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:  # noqa: ARG002 (others send it)
        headers = {"x-ms-blob-type": "BlockBlob", "Content-MD5": http.content_md5(body), **_condition(overwrite)}
        self._read(self._request("PUT", name, body=body, headers=headers), 201, "write")

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        """Nothing is sent: blocks wait under the name of the blob, told apart by a random beginning of their ids."""
        return Upload(name, secrets.token_hex(16), size, overwrite)

    def send(self, upload: Upload, part: Part) -> None:
        block = base64.b64encode(f"{upload.id}{part.number:08d}".encode()).decode()
        params = {"comp": "block", "blockid": block}
        headers = {"Content-MD5": http.content_md5(part.body)}
        self._read(self._request("PUT", upload.name, params, body=part.body, headers=headers), 201, "write")
        upload.parts[part.number] = block

    def finish(self, upload: Upload) -> None:
        blocks = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in upload.part_answers)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()
        headers = {"Content-MD5": http.content_md5(body), **_condition(upload.overwrite)}
        self._read(self._request("PUT", upload.name, {"comp": "blocklist"}, body=body, headers=headers), 201, "write")

    def abort(self, upload: Upload) -> None:
        """Nothing: Azure has no such request. Blocks that no list names are deleted by it after a week."""

    def unfinished_uploads(self, prefix: str) -> Iterator[Upload]:  # noqa: ARG002 (others ask for it)
        """None, since none could be aborted."""
        return iter(())

    def _page(self, prefix: str, marker: str, size: int) -> tuple[Sequence[Stat], str]:
        # Libcloud signs values without the spaces at their ends, so none is sent with any.
        sent_prefix = prefix.rstrip() if prefix == prefix.lstrip() else ""
        query = {"restype": "container", "comp": "list", "prefix": sent_prefix, "maxresults": str(size)}
        params = {name: value for name, value in {**query, "marker": marker}.items() if value}
        return self._responses.page(self._read(self._request("GET", None, params), 200, "list"))

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
        if answer.status_code == 401 and self._tokens and self._tokens.discard(token):
            http.drain(answer, self._endpoint.timeouts)
            answer = self._connection.send(method, path, params or {}, body, headers or {}, self._tokens.value())
        return answer

    def _read(self, answer: requests.Response, success: int, operation: str, name: str = "") -> bytes:
        """The body of an answer that reports success. Raises the error of the store otherwise."""
        if answer.status_code != success:
            raise self._failure(answer, operation, name)
        return http.read_body(answer, self._endpoint.timeouts)

    def _failure(self, answer: requests.Response, operation: str, name: str = "") -> PortalError:
        return self._responses.failure(answer, http.read_error_body(answer, self._endpoint.timeouts), operation, name)


def _condition(overwrite: bool) -> dict[str, str]:
    return {} if overwrite else {"If-None-Match": "*"}


def _quoted(name: str) -> str:
    """The name in a path. Raises BadValue for one that Azure would take for another, or refuse."""
    if "\\" in name or any(part.endswith(".") for part in name.split("/")) or name.endswith(" "):
        raise _invalid_name(name, "Azure changes a backslash, and a dot at the end of a part")
    if len(name) > MAX_NAME_LENGTH:
        raise _invalid_name(name, f"it has {len(name):,} characters, and Azure accepts {MAX_NAME_LENGTH:,}")
    try:
        return f"/{quote(name, safe='/~')}"
    except UnicodeEncodeError as error:
        raise _invalid_name(name, "Azure requires valid UTF-8") from error


def _invalid_name(name: str, why: str) -> BadValue:
    return BadValue(f"{name[:60]!r} cannot be the name of an object: {why}.")
