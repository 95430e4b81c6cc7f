"""What an S3 store answers: its XML, and its refusals in words."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import ContainerMissing, Interrupted, Stat, Unsupported

REQUIRED_RIGHTS = {
    "write": ("write objects to", "s3:PutObject"),
    "read": ("read objects of", "s3:GetObject"),
    "look": ("look at objects of", "s3:GetObject and s3:ListBucket"),
    "delete": ("delete objects of", "s3:DeleteObject"),
    "list": ("list", "s3:ListBucket"),
    "list uploads": ("list the unfinished uploads of", "s3:ListBucketMultipartUploads"),
    "abort an upload": ("abort uploads to", "s3:AbortMultipartUpload"),
}
"""What is denied in words, and the right that it takes."""
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "Busy"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"}
_CHANGED = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody"}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}


class CredentialsRefused(NotAllowed):
    """The store does not take the credentials, whatever they are used for."""


class ResponseReader:
    """The answers of one bucket in words."""

    def __init__(self, bucket: str, host: str) -> None:
        self._bucket = bucket
        self._host = host

    def strange(self) -> PortalError:
        return Unreachable(f"{self._host} answers, but not as an S3 store does. Check the endpoint.", permanent=True)

    def document(self, content: bytes) -> ElementTree.Element:
        """The XML of an answer. Raises Unreachable for what is none, or does more than say something."""
        found = xml_documents.parse(content)
        if found is None:
            raise self.strange()
        return found

    def objects(self, found: ElementTree.Element) -> Sequence[Stat]:
        """The objects of a page of ListObjectsV2, without what only stands for a folder."""
        is_quoted = child_text(found, "EncodingType") == "url"
        page = []
        for entry in children(found, "Contents"):
            key, size = child_text(entry, "Key"), xml_documents.byte_count(child_text(entry, "Size"))
            if key.endswith("/"):
                continue
            if size is None:
                raise self.strange()
            page.append(Stat(unquote_plus(key) if is_quoted else key, size))
        return page

    def failure(self, answer: requests.Response, content: bytes, what: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status, code = answer.status_code, self._code(content)
        if code in _FULL or status == 507:
            return NoSpace(f"The storage at {self._host} has no room or quota left. Free some space there.")
        if error := self._of_object(status, code, name) or self._of_account(status, code, what):
            return error
        if status in (301, 302, 307, 308) or code in _ELSEWHERE:
            region = self._field(content, "Region") or answer.headers.get("x-amz-bucket-region", "")
            named = f" It is in {region[:40]}." if region else ""
            message = f"The bucket {self._bucket} is not in the region that was given.{named} Change the region."
            return Unreachable(message, permanent=True)
        if code in _CHANGED:
            return Interrupted(f"{self._host} received other bytes than were sent.")
        if (status >= 500 and status not in (501, 505)) or status == 429 or code in _BUSY:
            said = f"HTTP {status} {code}".strip()
            return Interrupted(
                f"{self._host} answers that it cannot just now ({said}).", after=http.retry_after(answer)
            )
        if status == 501 or code == "NotImplemented":
            return Unsupported(f"{self._host} does not know a request that is needed to {what}.")
        if not code:
            return self.strange()
        return Unreachable(f"{self._host} refuses to {what}: {code}.", permanent=True)

    def _of_object(self, status: int, code: str, name: str) -> PortalError | None:
        if code == "NoSuchBucket":
            return ContainerMissing(
                f"There is no bucket {self._bucket} at {self._host}. Check its name, or create it there."
            )
        if code in ("NoSuchKey", "NoSuchUpload", "InvalidPart") or status == 404:
            return Missing(f"There is no object {name}." if name else "The upload is no longer known to the storage.")
        if status == 412 or code == "PreconditionFailed":
            return Taken("Something has that name there already.")
        if code == "InvalidObjectState":
            return NotAllowed(f"{name} lies in an archive class of {self._host}. Restore it there, and end that rule.")
        if code in ("KeyTooLongError", "XMinioInvalidObjectName") or status == 414:
            return BadValue(f"{self._host} does not take this name: it is too long, or has letters that it refuses.")
        return None

    def _of_account(self, status: int, code: str, what: str) -> PortalError | None:
        if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
            return CredentialsRefused(f"{self._host} does not know the access key. Check it, or enter a new one.")
        if code in ("SignatureDoesNotMatch", "InvalidSecurity"):
            return CredentialsRefused(f"{self._host} refuses the secret of the access key. Enter both again.")
        if code in ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"):
            return CredentialsRefused(f"{self._host} refuses the session token, which may have expired. Renew it.")
        if code == "RequestTimeTooSkewed":
            return CredentialsRefused(f"The clocks of this host and of {self._host} differ too much. Set them right.")
        if code == "AccountProblem" or status == 401:
            return CredentialsRefused(f"{self._host} refuses the account. Ask who runs it.")
        if status in (403, 405) or code in ("AccessDenied", "AllAccessDisabled", "MethodNotAllowed"):
            words, right = REQUIRED_RIGHTS[what]
            return NotAllowed(
                f"The account may not {words} the bucket {self._bucket} at {self._host}. Grant it {right}."
            )
        return None

    def _code(self, content: bytes) -> str:
        code = self._field(content, "Code")
        return code[:60] if code.isascii() and code.isalnum() else ""

    def _field(self, content: bytes, name: str) -> str:
        try:
            return child_text(self.document(content), name)
        except PortalError:
            return ""


def children(found: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Children of that name, whatever their namespace."""
    return (child for child in found if child.tag.rpartition("}")[2] == name)


def child_text(found: ElementTree.Element, name: str) -> str:
    """The text of the first child of that name."""
    return next((child.text or "" for child in children(found, name)), "")


def parse_time(said: str) -> datetime | None:
    try:
        return datetime.fromisoformat(said).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def sha256_checksum(headers: Mapping[str, str]) -> str:
    """SHA-256 of the whole object in hex; one of several parts has a checksum of checksums, which says less."""
    said = headers.get("x-amz-checksum-sha256", "")
    if "-" in said or headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return ""
    try:
        return base64.b64decode(said, validate=True).hex()
    except ValueError:
        return ""


def completion_body(tags: Sequence[str]) -> bytes:
    """The body of CompleteMultipartUpload."""
    entries = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    return f"<CompleteMultipartUpload>{''.join(entries)}</CompleteMultipartUpload>".encode()
