"""Google Cloud Storage by its JSON API: resumable uploads, create-only, MD5 compared by the store and by us."""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from portal.errors import BadValue, Damaged, Missing, PortalError
from portal.storage_drivers import connect, http
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.gcs import config as gcs_config
from portal.storage_drivers.gcs import errors
from portal.storage_drivers.gcs.connection import GCSConnection, fetch_token
from portal.storage_drivers.gcs.resumable_upload import ResumableUpload, require_resumable
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.s3 import driver as s3
from portal.storage_drivers.store import MIB, Body, Interrupted, NamedStep, Part, Stat, Upload
from portal.storage_drivers.tokens import TokenCache

OBJECTS_PER_PAGE = 1000
UPLOAD_GRANULARITY = 256 * 1024
"""Bytes of which a store keeps a multiple, except at the end: what it reports beyond that is sent again."""
FINISH_TIMEOUT_FACTOR = 4
"""How many times longer the end of a large upload may take."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    timeouts: Timeouts | None = None,
    page_size: int = OBJECTS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a bucket; with an HMAC key, by Google's XML API, which is S3's. Raises BadValue."""
    timeouts = timeouts or Timeouts()
    if config.get("access_key"):
        s3_config = {**config, "endpoint": gcs_config.endpoint_url(config), "region": "auto", "path_style": True}
        return s3.open_destination(s3_config, prefix, secret, timeouts=timeouts, **options)
    if not secret.get("service_account"):
        raise BadValue("The service account key is not set. Enter it again.", field="service_account")
    account = gcs_config.parse_service_account(secret["service_account"])
    endpoint = connect.endpoint(gcs_config.endpoint_url(config), ca=config.get("ca", ""), timeouts=timeouts)
    ca = config.get("ca", "") if account["token_uri"] != gcs_config.DEFAULT_TOKEN_URI else ""
    tokens = TokenCache(partial(fetch_token, account, ca, timeouts))
    return ObjectStoreDestination(lambda: GCSStore(endpoint, config, tokens, page_size), prefix=prefix, **options)


class GCSStore:
    """One bucket. A large object appears with its last part, if its MD5 is that of all parts."""

    mount = ""
    lists_by_name = True
    max_name_bytes = 1024
    max_put_size = 8 * MIB
    min_part_size = 8 * MIB
    max_parts = 1 << 20
    any_part_order = False
    needs_part_digest = False

    def __init__(
        self, endpoint: Endpoint, config: dict[str, Any], tokens: TokenCache, page_size: int = OBJECTS_PER_PAGE
    ) -> None:
        self.create_only: bool | None = config.get("create_only")
        self._page_size = page_size
        self._bucket = config["bucket"]
        self._base = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
        self._endpoint = endpoint
        self._tokens = tokens
        self._responses = errors.ResponseReader(self._bucket, endpoint.host)
        self._connection = GCSConnection(endpoint)

    def steps(self) -> Sequence[NamedStep]:
        account_steps = connect.account_steps(
            lambda: self._page("portico-test-", "", "", 1),
            credentials="The service account is known, and its key is correct.",
            container=f"bucket {self._bucket}",
            fetch_token=self._tokens.value,
        )
        return [*self._endpoint.steps(), *account_steps]

    def stat(self, name: str) -> Stat | None:
        answer = self._request("GET", self._path(name), {"fields": "name,size,updated"})
        try:
            content = self._read(answer, (200,), "read", name)
        except Missing:
            return None
        return self._responses.stat(self._responses.document(content))

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        part = http.range_header(offset, size)
        # Without gzip, an object that was stored compressed would come unpacked, and with another size.
        headers = {"Accept-Encoding": "gzip", **({"Range": part} if part else {})}
        answer = self._request("GET", self._path(name), {"alt": "media"}, headers=headers)
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._endpoint.timeouts, failure, is_range=bool(part))

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        mark = ""
        while True:
            stats, following = self._page(prefix, after, mark, self._page_size)
            yield [stat for stat in stats if not after or stat.key.encode() > after.encode()]
            if not following:
                return
            if following == mark:
                raise Damaged("The storage says that its list continues, but not where. It cannot be listed.")
            mark = following

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", self._path(name)), (200, 204), "delete", name)

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:  # noqa: ARG002 (others send it)
        """Name, MD5 and bytes in one request (uploadType=multipart, RFC 2387)."""
        md5 = http.content_md5(body)
        metadata = {"name": _checked(name), "md5Hash": md5, "contentType": "application/octet-stream"}
        boundary = secrets.token_hex(16)
        content = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                json.dumps(metadata).encode(),
                f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
                body,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        params = {"uploadType": "multipart", **_condition(overwrite)}
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        answer = self._request("POST", f"/upload{self._base}", params, body=content, headers=headers)
        self._compare(self._created(answer, overwrite), md5, len(body))

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        metadata = {"name": _checked(name), "contentType": "application/octet-stream"}
        params = {"uploadType": "resumable", **_condition(overwrite)}
        headers = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Length": str(size)}
        body = json.dumps(metadata).encode()
        answer = self._request("POST", f"/upload{self._base}", params, body=body, headers=headers)
        self._read(answer, (200, 201), _write_operation(overwrite))
        # Only path and query of the address are used: parts never go to another server than ours.
        url = urlsplit(answer.headers.get("Location", ""))
        if not url.path.startswith("/") or not url.query:
            raise self._responses.unexpected()
        return ResumableUpload(name, "", size, overwrite, path=f"{url.path}?{url.query}")

    def send(self, upload: Upload, part: Part) -> None:
        _number, offset, body, _digest = part
        upload = require_resumable(upload)
        upload.add(offset, body)
        end = offset + len(body)
        received = self._received(upload) if upload.is_unsure else offset
        upload.is_unsure = True
        while upload.created is None and (received < end or not upload.size):
            if received < offset:
                raise Missing("The storage has lost a part of the upload.")
            before, received = received, self._send_range(upload, received, body[received - offset :])
            if upload.created is None and received <= before:
                raise Interrupted(f"{self._endpoint.host} accepted nothing of what was sent.")
        upload.is_unsure = False

    def finish(self, upload: Upload) -> None:
        upload = require_resumable(upload)
        if upload.created is None:
            self._received(upload)
        if upload.created is None:
            raise Missing("The upload is not complete, and the storage waits for more.")
        self._compare(upload.created, upload.base64_md5, upload.size)

    def abort(self, upload: Upload) -> None:
        """An upload that is not aborted is deleted by Google after a week."""
        upload = require_resumable(upload)
        if upload.created is None:
            http.drain(self._request("DELETE", upload.path), self._endpoint.timeouts)

    def unfinished_uploads(self, prefix: str) -> Iterator[Upload]:  # noqa: ARG002 (others ask for it)
        """None: the store does not list them."""
        return iter(())

    def _page(self, prefix: str, after: str, mark: str, size: int) -> tuple[Sequence[Stat], str]:
        query = {"prefix": prefix, "startOffset": after, "pageToken": mark, "maxResults": str(size)}
        params = {name: value for name, value in query.items() if value}
        params["fields"] = "items(name,size,updated),nextPageToken"
        return self._responses.page(self._read(self._request("GET", self._base, params), (200,), "list"))

    def _send_range(self, upload: ResumableUpload, offset: int, body: Body) -> int:
        """Send bytes; returns up to where the store has all, and sets `created` where that is the end."""
        end = offset + len(body)
        headers = {"Content-Range": f"bytes {offset}-{end - 1}/{upload.size}" if body else f"bytes */{upload.size}"}
        is_last = end == upload.size
        if is_last:
            headers["X-Goog-Hash"] = f"md5={upload.base64_md5}"
        return self._progress(upload, self._request("PUT", upload.path, body=body, headers=headers, is_finish=is_last))

    def _received(self, upload: ResumableUpload) -> int:
        """Up to where the store says that it has all; sets `created` where that is the end."""
        headers = {"Content-Range": f"bytes */{upload.size}"}
        return self._progress(upload, self._request("PUT", upload.path, headers=headers))

    def _progress(self, upload: ResumableUpload, answer: requests.Response) -> int:
        if answer.status_code == 308:
            http.drain(answer, self._endpoint.timeouts)
            stored = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            received = int(stored[1]) + 1 if stored else 0
            return received - received % UPLOAD_GRANULARITY
        if answer.status_code == 404:
            http.drain(answer, self._endpoint.timeouts)
            raise Missing("The upload is no longer known to the storage.")
        upload.created = self._created(answer, upload.overwrite)
        return upload.size

    def _created(self, answer: requests.Response, overwrite: bool) -> dict[str, Any]:
        """The object that an answer describes."""
        return dict(self._responses.document(self._read(answer, (200, 201), _write_operation(overwrite))))

    def _compare(self, created: dict[str, Any], md5: str, size: int) -> None:
        """Delete an object of other bytes than were sent, which a store that compares nothing has created."""
        if str(created.get("size")) == str(size) and created.get("md5Hash", md5) == md5:
            return
        if str(created.get("generation", "")).isdigit() and isinstance(created.get("name"), str):
            params = {"ifGenerationMatch": str(created["generation"])}
            with suppress(PortalError):
                http.drain(self._request("DELETE", self._path(created["name"]), params), self._endpoint.timeouts)
        raise Damaged("The storage has stored different bytes than were sent. Check it, and do not rely on it.")

    def _path(self, name: str) -> str:
        return f"{self._base}/{quote(_checked(name), safe='')}"

    def _request(
        self,
        method: str,
        path: str,
        params: dict[str, str] | None = None,
        *,
        body: Body = b"",
        headers: dict[str, str] | None = None,
        is_finish: bool = False,
    ) -> requests.Response:
        """The answer to one request about an object, or the bucket; nothing of its body is read yet."""
        timeouts = self._endpoint.timeouts
        if is_finish:
            timeouts = Timeouts(timeouts.connect, timeouts.read * FINISH_TIMEOUT_FACTOR)
        token = self._tokens.value()
        answer = self._connection.send(method, path, params or {}, body, headers or {}, token, timeouts)
        if answer.status_code == 401 and self._tokens.discard(token):
            http.drain(answer, self._endpoint.timeouts)
            token = self._tokens.value()
            answer = self._connection.send(method, path, params or {}, body, headers or {}, token, timeouts)
        return answer

    def _read(self, answer: requests.Response, success: tuple[int, ...], operation: str, name: str = "") -> bytes:
        """The body of an answer that reports success. Raises the error of the store otherwise."""
        if answer.status_code not in success:
            raise self._failure(answer, operation, name)
        return http.read_body(answer, self._endpoint.timeouts)

    def _failure(self, answer: requests.Response, operation: str, name: str = "") -> PortalError:
        return self._responses.failure(answer, http.read_error_body(answer, self._endpoint.timeouts), operation, name)


def _condition(overwrite: bool) -> dict[str, str]:
    return {} if overwrite else {"ifGenerationMatch": "0"}


def _write_operation(overwrite: bool) -> str:
    return "write over an object" if overwrite else "write"


def _checked(name: str) -> str:
    """Raises BadValue for a name that Google refuses."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{name[:60]!r} cannot be the name of an object: Google requires valid UTF-8.") from error
    if "\r" in name or "\n" in name:
        raise BadValue(f"{name[:60]!r} cannot be the name of an object: Google accepts no line break.")
    return name
