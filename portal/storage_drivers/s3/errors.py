"""What an S3 store answers: its XML, and its refusals translated."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import (
    NAME_TAKEN,
    ContainerMissing,
    CredentialsRefused,
    Interrupted,
    Stat,
    Unsupported,
)

REQUIRED_RIGHTS = {
    "write": ("write objects to", "s3:PutObject"),
    "read": ("read objects of", "s3:GetObject"),
    "look": ("look at objects of", "s3:GetObject and s3:ListBucket"),
    "delete": ("delete objects of", "s3:DeleteObject"),
    "list": ("list", "s3:ListBucket"),
    "list uploads": ("list the unfinished uploads of", "s3:ListBucketMultipartUploads"),
    "abort an upload": ("abort uploads to", "s3:AbortMultipartUpload"),
}
"""By operation: how a message calls it, and the right that it requires."""
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "Busy"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"}
_CHANGED = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody"}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}


class ResponseReader:
    """Reads the answers of one bucket."""

    def __init__(self, bucket: str, host: str) -> None:
        self._bucket = bucket
        self._host = host

    def unexpected(self) -> PortalError:
        return Unreachable(f"{self._host} answers, but not like an S3 store. Check the endpoint.", permanent=True)

    def document(self, content: bytes) -> ElementTree.Element:
        """The XML of an answer. Raises Unreachable for what is none, or does more than carry data."""
        document = xml_documents.parse(content)
        if document is None:
            raise self.unexpected()
        return document

    def objects(self, document: ElementTree.Element) -> Sequence[Stat]:
        """The objects of a page of ListObjectsV2, without placeholders of folders."""
        is_quoted = child_text(document, "EncodingType") == "url"
        page = []
        for entry in children(document, "Contents"):
            key, size = child_text(entry, "Key"), xml_documents.byte_count(child_text(entry, "Size"))
            if key.endswith("/"):
                continue
            if size is None:
                raise self.unexpected()
            page.append(Stat(unquote_plus(key) if is_quoted else key, size))
        return page

    def failure(self, answer: requests.Response, content: bytes, operation: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status, code = answer.status_code, self._field(content, "Code")
        code = code[:60] if code.isascii() and code.isalnum() else ""
        if code in _FULL or status == 507:
            return NoSpace(f"The storage at {self._host} has no room or quota left. Free some space there.")
        if error := self._object_failure(status, code, name) or self._account_failure(status, code, operation):
            return error
        if status in (301, 302, 307, 308) or code in _ELSEWHERE:
            region = self._field(content, "Region") or answer.headers.get("x-amz-bucket-region", "")
            is_in = f" It is in {region[:40]}." if region else ""
            message = f"The bucket {self._bucket} is not in the region that was given.{is_in} Change the region."
            return Unreachable(message, permanent=True)
        if code in _CHANGED:
            return Interrupted(f"{self._host} received different bytes than were sent.")
        if (status >= 500 and status not in (501, 505)) or status == 429 or code in _BUSY:
            reason = f"HTTP {status} {code}".strip()
            message = f"{self._host} is temporarily unavailable ({reason})."
            return Interrupted(message, retry_after=http.retry_after(answer))
        if status == 501 or code == "NotImplemented":
            return Unsupported(f"{self._host} does not support a request that is needed to {operation}.")
        if not code:
            return self.unexpected()
        return Unreachable(f"{self._host} refuses to {operation}: {code}.", permanent=True)

    def _object_failure(self, status: int, code: str, name: str) -> PortalError | None:
        if code == "NoSuchBucket":
            message = f"There is no bucket {self._bucket} at {self._host}. Check its name, or create it there."
            return ContainerMissing(message)
        if code in ("NoSuchKey", "NoSuchUpload", "InvalidPart") or status == 404:
            return Missing(f"There is no object {name}." if name else "The upload is no longer known to the storage.")
        if status == 412 or code == "PreconditionFailed":
            return Taken(NAME_TAKEN)
        if code == "InvalidObjectState":
            return NotAllowed(f"{name} is in an archive class of {self._host}. Restore it there, and end that rule.")
        if code in ("KeyTooLongError", "XMinioInvalidObjectName") or status == 414:
            return BadValue(f"{self._host} does not accept this name: it is too long, or has characters it refuses.")
        return None

    def _account_failure(self, status: int, code: str, operation: str) -> PortalError | None:
        if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
            return CredentialsRefused(f"{self._host} does not know the access key. Check it, or enter a new one.")
        if code in ("SignatureDoesNotMatch", "InvalidSecurity"):
            return CredentialsRefused(f"{self._host} refuses the secret of the access key. Enter both again.")
        if code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
            return CredentialsRefused(f"{self._host} refuses the session token, which may have expired. Renew it.")
        if code == "RequestTimeTooSkewed":
            return CredentialsRefused(f"The clocks of this host and of {self._host} differ too much. Set them right.")
        if code == "AccountProblem" or status == 401:
            return CredentialsRefused(f"{self._host} refuses the account. Ask its administrator.")
        if status in (403, 405) or code in ("AccessDenied", "AllAccessDisabled", "MethodNotAllowed"):
            words, right = REQUIRED_RIGHTS[operation]
            return NotAllowed(
                f"The account may not {words} the bucket {self._bucket} at {self._host}. Grant it {right}."
            )
        return None

    def _field(self, content: bytes, name: str) -> str:
        try:
            return child_text(self.document(content), name)
        except PortalError:
            return ""


def children(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Children of that name, whatever their namespace."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)


def child_text(element: ElementTree.Element, name: str) -> str:
    """The text of the first child of that name."""
    return next((child.text or "" for child in children(element, name)), "")


def parse_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def sha256_checksum(headers: Mapping[str, str]) -> str:
    """SHA-256 of the whole object in hex; empty for an object of several parts, which has a checksum of checksums."""
    text = headers.get("x-amz-checksum-sha256", "")
    if "-" in text or headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return ""
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return ""


def completion_body(tags: Sequence[str]) -> bytes:
    """The body of CompleteMultipartUpload."""
    entries = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    return f"<CompleteMultipartUpload>{''.join(entries)}</CompleteMultipartUpload>".encode()
