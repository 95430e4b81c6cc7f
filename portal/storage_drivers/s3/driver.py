"""Amazon S3 and what speaks like it: Libcloud's signing, any region and endpoint, create-only where the store can."""

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

import requests
from libcloud.common.aws import AWSRequestSignerAlgorithmV4
from libcloud.storage.drivers.s3 import S3SignatureV4Connection

from portal.errors import BadValue, Damaged, Missing, NotAllowed, PortalError
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.connect import Endpoint, endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.s3 import errors
from portal.storage_drivers.s3.config import endpoint_url
from portal.storage_drivers.store import MIB, Body, ContainerMissing, ListProgress, NamedStep, Part, Stat, Upload

OBJECTS_PER_PAGE = 1000
FINISH_TIMEOUT_FACTOR = 10
"""How many times longer the end of a large upload may take: the store puts its parts together."""
_EMPTY = hashlib.sha256(b"").hexdigest()


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    limits: Timeouts | None = None,
    page: int = OBJECTS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a bucket. Raises BadValue where there are no credentials."""
    keys = _credentials(config, secret)
    place = endpoint(endpoint_url(config), ca=config.get("ca", ""), limits=limits or Timeouts())
    return ObjectStoreDestination(lambda: S3Store(place, config, keys, page), prefix=prefix, **options)


def _credentials(config: dict[str, Any], secret: dict[str, str]) -> tuple[str, str, str]:
    """Access key, secret and session token: the storage's own, else those of this process' environment."""
    if config.get("access_key"):
        if not secret.get("secret_key"):
            raise BadValue("The secret of the access key is not set. Enter it again.", field="secret_key")
        return config["access_key"], secret["secret_key"], ""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key, secret_key, token = (os.environ.get(name, "") for name in names)
    if not key or not secret_key:
        message = "There is no access key, and none in the environment of the worker (AWS_ACCESS_KEY_ID)."
        raise BadValue(f"{message} Enter one.", field="access_key")
    return key, secret_key, token


class S3Store:
    """One bucket. Each body is signed, so that the store itself notices what the way has changed."""

    small = 8 * MIB
    part = 8 * MIB
    mount = ""
    any_order = True
    signs = True
    by_name = True
    most_parts = 10_000
    longest = 1024

    def __init__(self, place: Endpoint, config: dict[str, Any], keys: tuple[str, str, str], page: int) -> None:
        self._page = page
        self.create_only: bool | None = config.get("create_only")
        self._bucket = config["bucket"]
        self._base = f"/{self._bucket}" if config.get("path_style", True) else ""
        self._place = place if self._base else replace(place, host=f"{self._bucket}.{place.host}")
        self._answers = errors.ResponseReader(self._bucket, self._place.host)
        self._connection = _Connection(self._place, config.get("region") or "us-east-1", keys)

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        headers = {"x-amz-checksum-sha256": checksum, **self._condition(overwrite)}
        self._read(self._request("PUT", name, body=body, digest=digest, headers=headers), "write")

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        found = self._xml(self._request("POST", name, {"uploads": ""}), "write")
        upload_id = errors.child_text(found, "UploadId")
        if not upload_id:
            raise self._answers.strange()
        return Upload(name, upload_id, size, overwrite)

    def send(self, upload: Upload, part: Part) -> None:
        params = {"partNumber": str(part.number + 1), "uploadId": upload.id}
        answer = self._request("PUT", upload.name, params, body=part.body, digest=part.digest)
        tag = answer.headers.get("ETag", "")
        self._read(answer, "write")
        upload.parts[part.number] = tag

    def finish(self, upload: Upload) -> None:
        """The answer may be 200 and an error nevertheless: what counts is its body."""
        body = errors.completion_body(upload.answers)
        headers = self._condition(upload.overwrite)
        answer = self._request("POST", upload.name, {"uploadId": upload.id}, body=body, headers=headers, patient=True)
        self._xml(answer, "write")

    def abort(self, upload: Upload) -> None:
        with suppress(Missing):
            self._read(self._request("DELETE", upload.name, {"uploadId": upload.id}), "abort an upload")

    def unfinished(self, prefix: str) -> Iterator[Upload]:
        marks: dict[str, str] = {}
        onward = ListProgress()
        while True:
            params = {"uploads": "", "prefix": prefix, "max-uploads": str(self._page), **marks}
            found = self._xml(self._request("GET", None, params), "list uploads")
            uploads = [_upload(entry) for entry in errors.children(found, "Upload")]
            is_last = errors.child_text(found, "IsTruncated") != "true"
            if not is_last:
                onward.require(*((upload.name, upload.id) for upload in uploads))
            yield from (upload for upload in uploads if upload.name.startswith(prefix))
            if is_last:
                return
            following = (errors.child_text(found, "NextKeyMarker"), errors.child_text(found, "NextUploadIdMarker"))
            marks = self._onward(marks, dict(zip(("key-marker", "upload-id-marker"), following, strict=True)))

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        part = http.range_header(offset, size)
        answer = self._request("GET", name, headers={"Range": part} if part else {})
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._place.limits, failure, is_part=bool(part))

    def stat(self, name: str) -> Stat | None:
        answer = self._request("HEAD", name, headers={"x-amz-checksum-mode": "ENABLED"})
        http.drain(answer, self._place.limits)
        if answer.status_code == 404:
            return None
        if answer.status_code == 403:  # an answer to HEAD has no body that would say why
            answer = self._request("GET", name, headers={"Range": "bytes=0-0"})
        if answer.status_code not in (200, 206):
            raise self._failure(answer, "look", name)
        size = xml_documents.byte_count(answer.headers.get("Content-Length", ""))
        if size is None or answer.status_code == 206:
            answer.close()
            raise self._answers.strange()
        return Stat(name, size, errors.sha256_checksum(answer.headers))

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", name), "delete", name)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        onward = {"start-after": after} if after else {}
        while True:
            params = {"list-type": "2", "prefix": prefix, "max-keys": str(self._page), "encoding-type": "url", **onward}
            found = self._xml(self._request("GET", None, params), "list")
            yield self._answers.objects(found)
            if errors.child_text(found, "IsTruncated") != "true":
                return
            token = errors.child_text(found, "NextContinuationToken")
            onward = self._onward(onward, {"continuation-token": token})

    def steps(self) -> Sequence[NamedStep]:
        return [*self._place.steps(), ("Signed in", self._signed_in), ("Bucket found", self._found)]

    def _signed_in(self) -> str:
        """Listing is the one request that every S3 checks a signature for and explains its refusal of."""
        try:
            self._look()
        except errors.CredentialsRefused:
            raise
        except (NotAllowed, ContainerMissing):
            pass
        return "The access key is known, and its secret fits."

    def _found(self) -> str:
        with suppress(NotAllowed):  # the next step says what the account may do
            self._look()
        return f"The bucket {self._bucket} is there."

    def _look(self) -> None:
        params = {"list-type": "2", "max-keys": "1", "prefix": "portico-test-"}
        self._xml(self._request("GET", None, params), "list")

    def _condition(self, overwrite: bool) -> dict[str, str]:
        return {} if overwrite or self.create_only is False else {"If-None-Match": "*"}

    def _onward(self, before: dict[str, str], marks: dict[str, str]) -> dict[str, str]:
        """The marks of the next page. Raises Damaged for a store that goes round in circles."""
        if marks == before or not any(marks.values()):
            raise Damaged("The storage says that its list goes on, but not where. It cannot be listed.")
        return marks

    def _request(
        self,
        method: str,
        name: str | None,
        params: dict[str, str] | None = None,
        *,
        body: Body = b"",
        digest: str = "",
        headers: dict[str, str] | None = None,
        patient: bool = False,
    ) -> requests.Response:
        """The answer to one signed request about an object, or the bucket; nothing of its body is read yet."""
        try:
            path = f"{self._base}/{quote(name or '', safe='/~')}"
        except UnicodeEncodeError as error:
            raise BadValue("This name is no UTF-8 text, which S3 wants of every name.") from error
        limits = self._place.limits
        if patient:
            limits = Timeouts(limits.connect, limits.read * FINISH_TIMEOUT_FACTOR)
        sha256 = digest or (hashlib.sha256(body).hexdigest() if body else _EMPTY)
        return self._connection.send(method, path, params or {}, body, sha256, headers or {}, limits)

    def _read(self, answer: requests.Response, what: str, name: str = "") -> bytes:
        """The body of an answer that went well. Raises what the store says else."""
        if answer.status_code not in (200, 204):
            raise self._failure(answer, what, name)
        return http.read_body(answer, self._place.limits)

    def _xml(self, answer: requests.Response, what: str) -> Element:
        """The document of an answer that went well. Raises what the store says else, even in an answer of 200."""
        content = self._read(answer, what)
        found = self._answers.document(content)
        if found.tag.endswith("Error"):
            raise self._answers.failure(answer, content, what)
        return found

    def _failure(self, answer: requests.Response, what: str, name: str = "") -> PortalError:
        return self._answers.failure(answer, http.read_error_body(answer, self._place.limits), what, name)


def _upload(entry: Element) -> Upload:
    begun = errors.parse_time(errors.child_text(entry, "Initiated"))
    return Upload(errors.child_text(entry, "Key"), errors.child_text(entry, "UploadId"), since=begun)


class _Connection(S3SignatureV4Connection):
    """Libcloud's connection and signature, for any host and region."""

    rawResponseCls: Any = staticmethod(lambda response, **_connection: response)
    connection: Any
    signer: Any

    def __init__(self, place: Endpoint, region: str, keys: tuple[str, str, str]) -> None:
        self.driver = type("Region", (), {"region_name": region, "name": "Portico"})
        self.conn_class = http.connection_class(place.ca, place.limits)
        key, secret, token = keys
        super().__init__(key, secret, place.secure, place.host, place.port, token=token)  # type: ignore[no-untyped-call]
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
        limits: Timeouts,
    ) -> requests.Response:
        """The answer to one request, whose signature covers the body by its digest."""
        request: Any = self.request
        if self.connection is None:
            self.connect()  # type: ignore[no-untyped-call]
        self.signer.sha256, self.connection.limits = sha256, limits
        answer: requests.Response = request(
            path, params=params, data=body, headers=headers, method=method, raw=True, stream=True
        )
        return answer

    def morph_action_hook(self, action: str) -> str:
        """The path as it is: Libcloud would join what looks like steps in it."""
        return action

    def add_default_headers(self, headers: dict[str, str]) -> dict[str, str]:
        if self.token:
            headers["x-amz-security-token"] = self.token
        return headers


class _Signer(AWSRequestSignerAlgorithmV4):
    """Signs the digest that we have computed already, and only headers that no proxy changes on the way."""

    sha256 = _EMPTY

    def get_request_params(self, params: Any, method: Any = "GET", path: Any = "/") -> Any:  # noqa: ARG002
        return params

    def get_request_headers(
        self, params: Any, headers: Any, method: Any = "GET", path: Any = "/", data: Any = None
    ) -> Any:
        moment = datetime.now(UTC)
        headers["X-Amz-Date"] = moment.strftime("%Y%m%dT%H%M%SZ")
        headers["X-Amz-Content-Sha256"] = self.sha256
        headers["Accept-Encoding"] = "identity"
        signed = {name: value for name, value in headers.items() if re.match("host$|x-amz-", name, re.IGNORECASE)}
        sign: Any = self._get_authorization_v4_header
        headers["Authorization"] = sign(params=params, headers=signed, dt=moment, method=method, path=path, data=data)
        return params, headers

    def _get_payload_hash(self, method: Any, data: Any = None) -> str:  # noqa: ARG002 (Libcloud calls it so)
        return self.sha256
