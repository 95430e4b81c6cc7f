"""Amazon S3 and compatible stores: Libcloud's signature, any region and endpoint, create-only where supported."""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

import requests

from portal.errors import BadValue, Damaged, Missing, PortalError
from portal.storage_drivers import connect, http, xml_documents
from portal.storage_drivers.connect import Endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.s3 import errors
from portal.storage_drivers.s3.config import endpoint_url
from portal.storage_drivers.s3.connection import EMPTY_SHA256, S3Connection
from portal.storage_drivers.s3.errors import child_text
from portal.storage_drivers.store import MIB, Body, ListProgress, NamedStep, Part, Stat, Upload

OBJECTS_PER_PAGE = 1000
FINISH_TIMEOUT_FACTOR = 10
"""How many times longer the end of a large upload may take: the store puts its parts together."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    timeouts: Timeouts | None = None,
    page_size: int = OBJECTS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a bucket. Raises BadValue where there are no credentials."""
    if config.get("access_key"):
        if not secret.get("secret_key"):
            raise BadValue("The secret of the access key is not set. Enter it again.", field="secret_key")
        keys = config["access_key"], secret["secret_key"], ""
    else:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        key, secret_key, token = (os.environ.get(name, "") for name in names)
        if not key or not secret_key:
            message = "There is no access key, and none in the environment of the worker (AWS_ACCESS_KEY_ID)."
            raise BadValue(f"{message} Enter one.", field="access_key")
        keys = key, secret_key, token

    endpoint = connect.endpoint(endpoint_url(config), ca=config.get("ca", ""), timeouts=timeouts or Timeouts())
    return ObjectStoreDestination(lambda: S3Store(endpoint, config, keys, page_size), prefix=prefix, **options)


class S3Store:
    """One bucket. Each body is signed, so that the store notices what has changed on the way."""

    mount = ""
    lists_by_name = True
    max_name_bytes = 1024
    max_put_size = 8 * MIB
    min_part_size = 8 * MIB
    max_parts = 10_000
    any_part_order = True
    needs_part_digest = True

    def __init__(self, endpoint: Endpoint, config: dict[str, Any], keys: tuple[str, str, str], page_size: int) -> None:
        self.create_only: bool | None = config.get("create_only")
        self._page_size = page_size
        self._bucket = config["bucket"]
        self._base = f"/{self._bucket}" if config.get("path_style", True) else ""
        self._endpoint = endpoint if self._base else replace(endpoint, host=f"{self._bucket}.{endpoint.host}")
        self._responses = errors.ResponseReader(self._bucket, self._endpoint.host)
        self._connection = S3Connection(self._endpoint, config.get("region") or "us-east-1", keys)

    def steps(self) -> Sequence[NamedStep]:
        # Listing is the one request of which every S3 checks the signature and explains why it is refused.
        params = {"list-type": "2", "max-keys": "1", "prefix": "portico-test-"}
        account_steps = connect.account_steps(
            lambda: self._xml(self._request("GET", None, params), "list"),
            credentials="The access key is known, and its secret is correct.",
            container=f"bucket {self._bucket}",
        )
        return [*self._endpoint.steps(), *account_steps]

    def stat(self, name: str) -> Stat | None:
        answer = self._request("HEAD", name, headers={"x-amz-checksum-mode": "ENABLED"})
        http.drain(answer, self._endpoint.timeouts)
        if answer.status_code == 404:
            return None
        if answer.status_code == 403:  # an answer to HEAD has no body that would say why
            answer = self._request("GET", name, headers={"Range": "bytes=0-0"})
        if answer.status_code not in (200, 206):
            raise self._failure(answer, "look", name)
        size = xml_documents.byte_count(answer.headers.get("Content-Length", ""))
        if size is None or answer.status_code == 206:
            answer.close()
            raise self._responses.unexpected()
        return Stat(name, size, errors.sha256_checksum(answer.headers))

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        part = http.range_header(offset, size)
        answer = self._request("GET", name, headers={"Range": part} if part else {})
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._endpoint.timeouts, failure, is_range=bool(part))

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        marks = {"start-after": after} if after else {}
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": str(self._page_size), "encoding-type": "url"}
            page = self._xml(self._request("GET", None, {**query, **marks}), "list")
            yield self._responses.objects(page)
            if child_text(page, "IsTruncated") != "true":
                return
            marks = self._next_marks(marks, {"continuation-token": child_text(page, "NextContinuationToken")})

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", name), "delete", name)

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        headers = {"x-amz-checksum-sha256": checksum, **self._condition(overwrite)}
        self._read(self._request("PUT", name, body=body, digest=digest, headers=headers), "write")

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        document = self._xml(self._request("POST", name, {"uploads": ""}), "write")
        upload_id = child_text(document, "UploadId")
        if not upload_id:
            raise self._responses.unexpected()
        return Upload(name, upload_id, size, overwrite)

    def send(self, upload: Upload, part: Part) -> None:
        params = {"partNumber": str(part.number + 1), "uploadId": upload.id}
        answer = self._request("PUT", upload.name, params, body=part.body, digest=part.digest)
        tag = answer.headers.get("ETag", "")
        self._read(answer, "write")
        upload.parts[part.number] = tag

    def finish(self, upload: Upload) -> None:
        body = errors.completion_body(upload.part_answers)
        headers = self._condition(upload.overwrite)
        answer = self._request("POST", upload.name, {"uploadId": upload.id}, body=body, headers=headers, is_finish=True)
        self._xml(answer, "write")  # even an answer of 200 may carry an error

    def abort(self, upload: Upload) -> None:
        with suppress(Missing):
            self._read(self._request("DELETE", upload.name, {"uploadId": upload.id}), "abort an upload")

    def unfinished_uploads(self, prefix: str) -> Iterator[Upload]:
        marks: dict[str, str] = {}
        progress = ListProgress()
        while True:
            params = {"uploads": "", "prefix": prefix, "max-uploads": str(self._page_size), **marks}
            page = self._xml(self._request("GET", None, params), "list uploads")
            uploads = [
                Upload(
                    child_text(entry, "Key"),
                    child_text(entry, "UploadId"),
                    started=errors.parse_time(child_text(entry, "Initiated")),
                )
                for entry in errors.children(page, "Upload")
            ]
            is_last = child_text(page, "IsTruncated") != "true"
            if not is_last:
                progress.require(*((upload.name, upload.id) for upload in uploads))
            yield from (upload for upload in uploads if upload.name.startswith(prefix))
            if is_last:
                return
            following = {
                "key-marker": child_text(page, "NextKeyMarker"),
                "upload-id-marker": child_text(page, "NextUploadIdMarker"),
            }
            marks = self._next_marks(marks, following)

    def _next_marks(self, marks: dict[str, str], following: dict[str, str]) -> dict[str, str]:
        """Where the next page begins. Raises Damaged for a store that repeats itself."""
        if following == marks or not any(following.values()):
            raise Damaged("The storage says that its list continues, but not where. It cannot be listed.")
        return following

    def _condition(self, overwrite: bool) -> dict[str, str]:
        return {} if overwrite or self.create_only is False else {"If-None-Match": "*"}

    def _request(
        self,
        method: str,
        name: str | None,
        params: dict[str, str] | None = None,
        *,
        body: Body = b"",
        digest: str = "",
        headers: dict[str, str] | None = None,
        is_finish: bool = False,
    ) -> requests.Response:
        """The answer to one signed request about an object, or the bucket; nothing of its body is read yet."""
        try:
            path = f"{self._base}/{quote(name or '', safe='/~')}"
        except UnicodeEncodeError as error:
            raise BadValue("This name is not valid UTF-8, which S3 requires of every name.") from error
        timeouts = self._endpoint.timeouts
        if is_finish:
            timeouts = Timeouts(timeouts.connect, timeouts.read * FINISH_TIMEOUT_FACTOR)
        sha256 = digest or (hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256)
        return self._connection.send(method, path, params or {}, body, sha256, headers or {}, timeouts)

    def _read(self, answer: requests.Response, operation: str, name: str = "") -> bytes:
        """The body of an answer that reports success. Raises the error of the store otherwise."""
        if answer.status_code not in (200, 204):
            raise self._failure(answer, operation, name)
        return http.read_body(answer, self._endpoint.timeouts)

    def _xml(self, answer: requests.Response, operation: str) -> Element:
        """The document of an answer that reports success. Raises the error of the store, even in an answer of 200."""
        content = self._read(answer, operation)
        document = self._responses.document(content)
        if document.tag.endswith("Error"):
            raise self._responses.failure(answer, content, operation)
        return document

    def _failure(self, answer: requests.Response, operation: str, name: str = "") -> PortalError:
        return self._responses.failure(answer, http.read_error_body(answer, self._endpoint.timeouts), operation, name)
