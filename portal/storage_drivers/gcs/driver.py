"""Google Cloud Storage by its JSON API: resumable uploads, create-only, MD5 compared by the store and by us."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from portal.errors import BadValue, Damaged, Missing, NotAllowed, PortalError
from portal.storage_drivers import http
from portal.storage_drivers.connect import Endpoint, endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.gcs import config as gcs_config
from portal.storage_drivers.gcs import connection, errors
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.object_store import ObjectStoreDestination
from portal.storage_drivers.s3 import driver as s3
from portal.storage_drivers.store import MIB, Body, ContainerMissing, Interrupted, NamedStep, Part, Stat, Upload
from portal.storage_drivers.tokens import CredentialsRefused, TokenCache

OBJECTS_PER_PAGE = 1000
UPLOAD_GRANULARITY = 256 * 1024
"""Bytes of which a store keeps a multiple, but for the last: what it tells beyond that is sent again."""
FINISH_TIMEOUT_FACTOR = 4
"""How many times longer the end of a large upload may take."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    secret: dict[str, str],
    *,
    limits: Timeouts | None = None,
    page: int = OBJECTS_PER_PAGE,
    **options: Any,
) -> Destination:
    """The destination in a bucket; with an HMAC key, by Google's XML API, which is S3's. Raises BadValue."""
    limits = limits or Timeouts()
    if config.get("access_key"):
        alike = {**config, "endpoint": gcs_config.endpoint_url(config), "region": "auto", "path_style": True}
        return s3.open_destination(alike, prefix, secret, limits=limits, **options)
    if not secret.get("service_account"):
        raise BadValue("The key of the service account is not set. Enter it again.", field="service_account")
    account = gcs_config.parse_service_account(secret["service_account"])
    place = endpoint(gcs_config.endpoint_url(config), ca=config.get("ca", ""), limits=limits)
    ca = config.get("ca", "") if account["token_uri"] != gcs_config.DEFAULT_TOKEN_URI else ""
    signs_in = TokenCache(lambda: connection.fetch_token(account, ca, limits))
    return ObjectStoreDestination(lambda: GCSStore(place, config, signs_in, page), prefix=prefix, **options)


@dataclass
class _Session(Upload):
    """A resumable upload: where it goes on, the MD5 of what was sent, and the object that came of it."""

    path: str = ""
    is_unsure: bool = False
    """Whether the last request was broken off, so that the store has to be asked how far it came."""
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    hashed: int = 0
    made: dict[str, Any] | None = None

    def add(self, offset: int, body: Body) -> None:
        """Take a part into the MD5, once, however often it is sent."""
        if offset == self.hashed:
            self.md5.update(body)
            self.hashed += len(body)


class GCSStore:
    """One bucket. A large object appears by its last part, if its MD5 is that of all parts."""

    small = 8 * MIB
    part = 8 * MIB
    mount = ""
    any_order = False
    signs = False
    by_name = True
    most_parts = 1 << 20
    longest = 1024

    def __init__(
        self, place: Endpoint, config: dict[str, Any], signs_in: TokenCache, page: int = OBJECTS_PER_PAGE
    ) -> None:
        self._page_size = page
        self.create_only: bool | None = config.get("create_only")
        self._bucket = bucket = config["bucket"]
        self._place = place
        self._tokens = signs_in
        self._base = f"/storage/v1/b/{quote(bucket, safe='')}/o"
        self._answers = errors.ResponseReader(bucket, place.host)
        self._connection = connection.JsonConnection(place)

    def put(self, name: str, body: Body, *, digest: str, overwrite: bool) -> None:  # noqa: ARG002 (others send it)
        """Name, MD5 and bytes in one request (uploadType=multipart, RFC 2387)."""
        md5 = _md5(body)
        named = json.dumps({"name": _named(name), "md5Hash": md5, "contentType": "application/octet-stream"}).encode()
        mark = secrets.token_hex(16)
        opening = f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        middle = f"\r\n--{mark}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        content = b"".join((opening, named, middle, body, f"\r\n--{mark}--\r\n".encode()))
        params = {"uploadType": "multipart", **_condition(overwrite)}
        headers = {"Content-Type": f"multipart/related; boundary={mark}"}
        answer = self._request("POST", f"/upload{self._base}", params, body=content, headers=headers)
        self._compare(self._made(answer, overwrite), md5, len(body))

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        named = json.dumps({"name": _named(name), "contentType": "application/octet-stream"}).encode()
        params = {"uploadType": "resumable", **_condition(overwrite)}
        headers = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Length": str(size)}
        answer = self._request("POST", f"/upload{self._base}", params, body=named, headers=headers)
        self._read(answer, (200, 201), _writing(overwrite))
        # Of the address only path and query are used: parts never go to another server than ours.
        where = urlsplit(answer.headers.get("Location", ""))
        if not where.path.startswith("/") or not where.query:
            raise self._answers.strange()
        return _Session(name, "", size, overwrite, path=f"{where.path}?{where.query}")

    def send(self, upload: Upload, part: Part) -> None:
        _number, offset, body, _digest = part
        session = _session(upload)
        session.add(offset, body)
        end = offset + len(body)
        have = self._received(session) if session.is_unsure else offset
        session.is_unsure = True
        while session.made is None and (have < end or not session.size):
            if have < offset:
                raise Missing("The storage has lost a part of the upload.")
            had, have = have, self._put_range(session, have, body[have - offset :])
            if session.made is None and have <= had:
                raise Interrupted(f"{self._place.host} took nothing of what was sent.")
        session.is_unsure = False

    def finish(self, upload: Upload) -> None:
        session = _session(upload)
        if session.made is None:
            self._received(session)
        if session.made is None:
            raise Missing("The upload is not complete, and the storage waits for more.")
        self._compare(session.made, base64.b64encode(session.md5.digest()).decode(), session.size)

    def abort(self, upload: Upload) -> None:
        """What is not aborted vanishes by itself after a week."""
        session = _session(upload)
        if session.made is None:
            http.drain(self._request("DELETE", session.path), self._place.limits)

    def unfinished(self, prefix: str) -> Iterator[Upload]:  # noqa: ARG002 (others ask for it)
        """None: the store does not tell of them."""
        return iter(())

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        if size == 0:
            return
        # An object that was stored compressed would come unpacked, with another size, to one who does not take gzip.
        headers, part = {"Accept-Encoding": "gzip"}, http.range_header(offset, size)
        if part:
            headers["Range"] = part
        answer = self._request("GET", self._path(name), {"alt": "media"}, headers=headers)
        failure = lambda: self._failure(answer, "read", name)  # noqa: E731
        yield from http.object_content(answer, self._place.limits, failure, is_part=bool(part))

    def stat(self, name: str) -> Stat | None:
        answer = self._request("GET", self._path(name), {"fields": "name,size,updated"})
        try:
            content = self._read(answer, (200,), "read", name)
        except Missing:
            return None
        return self._answers.stat(self._answers.document(content))

    def delete(self, name: str) -> None:
        self._read(self._request("DELETE", self._path(name)), (200, 204), "delete", name)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        mark = ""
        while True:
            found, following = self._page(prefix, after, mark, self._page_size)
            yield [stat for stat in found if not after or stat.key.encode() > after.encode()]
            if not following:
                return
            if following == mark:
                raise Damaged("The storage says that its list goes on, but not where. It cannot be listed.")
            mark = following

    def steps(self) -> Sequence[NamedStep]:
        return [*self._place.steps(), ("Signed in", self._signed_in), ("Bucket found", self._found)]

    def _signed_in(self) -> str:
        self._tokens.value()
        try:
            self._page("portico-test-", "", "", 1)
        except CredentialsRefused:
            raise
        except (NotAllowed, ContainerMissing):
            pass
        return "The service account is known, and its key fits."

    def _found(self) -> str:
        with suppress(NotAllowed):  # the next step says what the account may do
            self._page("portico-test-", "", "", 1)
        return f"The bucket {self._bucket} is there."

    def _page(self, prefix: str, after: str, mark: str, most: int) -> tuple[Sequence[Stat], str]:
        params = {"prefix": prefix, "startOffset": after, "pageToken": mark, "maxResults": str(most)}
        asked = {name: value for name, value in params.items() if value}
        asked["fields"] = "items(name,size,updated),nextPageToken"
        return self._answers.page(self._read(self._request("GET", self._base, asked), (200,), "list"))

    def _put_range(self, session: _Session, offset: int, body: Body) -> int:
        """Send bytes; returns up to where the store has all, with `made` set where that is the end."""
        end = offset + len(body)
        headers = {"Content-Range": f"bytes {offset}-{end - 1}/{session.size}" if body else f"bytes */{session.size}"}
        is_last = end == session.size
        if is_last:
            headers["X-Goog-Hash"] = f"md5={base64.b64encode(session.md5.digest()).decode()}"
        answer = self._request("PUT", session.path, body=body, headers=headers, patient=is_last)
        return self._progress(session, answer)

    def _received(self, session: _Session) -> int:
        """Up to where the store has all, by its own word, with `made` set where that is the end."""
        headers = {"Content-Range": f"bytes */{session.size}"}
        return self._progress(session, self._request("PUT", session.path, headers=headers))

    def _progress(self, session: _Session, answer: requests.Response) -> int:
        if answer.status_code == 308:
            http.drain(answer, self._place.limits)
            found = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            received = int(found[1]) + 1 if found else 0
            return received - received % UPLOAD_GRANULARITY
        if answer.status_code == 404:
            http.drain(answer, self._place.limits)
            raise Missing("The upload is no longer known to the storage.")
        session.made = self._made(answer, session.overwrite)
        return session.size

    def _made(self, answer: requests.Response, overwrite: bool) -> dict[str, Any]:
        return dict(self._answers.document(self._read(answer, (200, 201), _writing(overwrite))))

    def _compare(self, made: dict[str, Any], md5: str, size: int) -> None:
        """Take back an object of other bytes than were sent, which a store that compares nothing has made."""
        if str(made.get("size")) == str(size) and made.get("md5Hash", md5) == md5:
            return
        if str(made.get("generation", "")).isdigit() and isinstance(made.get("name"), str):
            params = {"ifGenerationMatch": str(made["generation"])}
            with suppress(PortalError):
                http.drain(self._request("DELETE", self._path(made["name"]), params), self._place.limits)
        raise Damaged("The storage has kept other bytes than were sent. Check it, and do not rely on it.")

    def _path(self, name: str) -> str:
        return f"{self._base}/{quote(_named(name), safe='')}"

    def _request(
        self,
        method: str,
        path: str,
        params: dict[str, str] | None = None,
        *,
        body: Body = b"",
        headers: dict[str, str] | None = None,
        patient: bool = False,
    ) -> requests.Response:
        """The answer to one request; nothing of its body is read yet."""
        limits = self._place.limits
        if patient:
            limits = Timeouts(limits.connect, limits.read * FINISH_TIMEOUT_FACTOR)
        token = self._tokens.value()
        answer = self._connection.send(method, path, params or {}, body, headers or {}, token, limits)
        if answer.status_code == 401 and self._tokens.forget(token):
            http.drain(answer, self._place.limits)
            token = self._tokens.value()
            answer = self._connection.send(method, path, params or {}, body, headers or {}, token, limits)
        return answer

    def _read(self, answer: requests.Response, good: tuple[int, ...], what: str, name: str = "") -> bytes:
        """The body of an answer that went well. Raises what the store says else."""
        if answer.status_code not in good:
            raise self._failure(answer, what, name)
        return http.read_body(answer, self._place.limits)

    def _failure(self, answer: requests.Response, what: str, name: str = "") -> PortalError:
        return self._answers.failure(answer, http.read_error_body(answer, self._place.limits), what, name)


def _session(upload: Upload) -> _Session:
    if not isinstance(upload, _Session):
        raise TypeError("this upload was begun by another store")
    return upload


def _named(name: str) -> str:
    """Raises BadValue for a name that Google takes none of."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadValue(f"{name[:60]!r} cannot be the name of an object: Google wants UTF-8 text.") from error
    if "\r" in name or "\n" in name:
        raise BadValue(f"{name[:60]!r} cannot be the name of an object: Google takes no line break.")
    return name


def _condition(overwrite: bool) -> dict[str, str]:
    return {} if overwrite else {"ifGenerationMatch": "0"}


def _writing(overwrite: bool) -> str:
    return "write over an object" if overwrite else "write"


def _md5(body: Body) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
