"""What Google Cloud Storage answers: its JSON, and its refusals translated."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import NAME_TAKEN, ContainerMissing, CredentialsRefused, Interrupted, Stat

REQUIRED_RIGHTS = {
    "write": "storage.objects.create",
    "write over an object": "storage.objects.delete and storage.objects.create",
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
}
_BUSY = {"rateLimitExceeded", "userRateLimitExceeded", "backendError", "internalError", "conflict"}
_FULL = {"quotaExceeded", "dailyLimitExceeded", "storageQuotaExceeded", "insufficientStorage"}
_KEPT = {"retentionPolicyNotMet", "objectUnderActiveHold", "objectRetentionNotMet"}
_REFUSED = {
    "accountDisabled": "The billing of the bucket's project is off. Ask its administrator",
    "accessNotConfigured": "The API of Cloud Storage is off in the project. Turn it on there",
    "userProjectMissing": "The bucket has its requestor pay, which is not supported. Use another one",
    "sslRequired": "Google accepts no requests without encryption. Use https:// for the endpoint",
}


class ResponseReader:
    """Reads the answers of one bucket."""

    def __init__(self, bucket: str, host: str) -> None:
        self._bucket = bucket
        self._host = host

    def unexpected(self) -> PortalError:
        message = f"{self._host} answers, but not like Google Cloud Storage. Check the endpoint."
        return Unreachable(message, permanent=True)

    def document(self, content: bytes) -> Mapping[str, Any]:
        """The JSON object of an answer. Raises Unreachable for what is none."""
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.unexpected() from error
        if not isinstance(document, dict):
            raise self.unexpected()
        return document

    def stat(self, document: Mapping[str, Any]) -> Stat:
        name, size = document.get("name"), xml_documents.byte_count(str(document.get("size", "")))
        if not isinstance(name, str) or size is None:
            raise self.unexpected()
        return Stat(name, size)

    def page(self, content: bytes) -> tuple[Sequence[Stat], str]:
        """The objects of one page of a list, without placeholders of folders, and the mark of the next one, if any."""
        document = self.document(content)
        stats = [self.stat(item) for item in document.get("items", ())]
        return [stat for stat in stats if not stat.key.endswith("/")], str(document.get("nextPageToken") or "")

    def failure(self, answer: requests.Response, content: bytes, operation: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status = answer.status_code
        reason, text = _reason(content)
        if error := self._object_failure(status, text, name) or self._account_failure(status, reason, operation):
            return error
        if status == 400 and re.search("md5|crc32c|hash", text, re.IGNORECASE):
            return Interrupted(f"{self._host} received different bytes than were sent.")
        if status in (408, 409, 429) or (status >= 500 and status not in (501, 505)):
            message = f"{self._host} is temporarily unavailable ({f'HTTP {status} {reason}'.strip()})."
            return Interrupted(message, retry_after=http.retry_after(answer))
        if not reason:
            return self.unexpected()
        return Unreachable(f"{self._host} refuses to {operation}: {reason}.", permanent=True)

    def _object_failure(self, status: int, text: str, name: str) -> PortalError | None:
        if status == 412:
            return Taken(NAME_TAKEN)
        if status == 404 and (not name or re.search("bucket does not exist", text, re.IGNORECASE)):
            message = f"There is no bucket {self._bucket} at {self._host}. Check its name, or create it there."
            return ContainerMissing(message)
        if status == 404:
            return Missing(f"There is no object {name}.")
        if status in (410, 499):
            return Missing("The upload is no longer known to the storage.")
        if status == 414 or (status == 400 and re.search("object name|name is too long", text, re.IGNORECASE)):
            return BadValue(f"{self._host} does not accept this name: it is too long, or has characters it refuses.")
        return None

    def _account_failure(self, status: int, reason: str, operation: str) -> PortalError | None:
        if status == 401:
            return CredentialsRefused(f"{self._host} refuses the service account. Check it, or enter a new key of it.")
        if reason in _REFUSED:
            return NotAllowed(f"{_REFUSED[reason]}.")
        if reason in _KEPT:
            message = f"A policy of the bucket {self._bucket} protects what was written: it may not {operation}."
            return NotAllowed(message)
        if reason in _FULL:
            return NoSpace(
                f"The bucket {self._bucket} has no quota left ({reason}). Raise it, or free some space there."
            )
        if reason in _BUSY:
            return Interrupted(f"{self._host} is temporarily unavailable ({reason}).")
        if status == 403:
            message = f"The account may not {operation} in the bucket {self._bucket} at {self._host}."
            return NotAllowed(f"{message} Grant it {REQUIRED_RIGHTS[operation]}.")
        return None


def sign_in_error(host: str, answer: Mapping[str, Any]) -> PortalError:
    """What a refusal of Google's token server means."""
    description = str(answer.get("error_description", "")).lower()
    if "timeframe" in description or "short-lived" in description:
        return CredentialsRefused(f"The clocks of this host and of {host} differ too much. Set them right.")
    if "signature" in description:
        message = f"{host} refuses the key of the service account, which may be deleted. Enter a new one."
        return CredentialsRefused(message)
    if "not found" in description or "disabled" in description:
        return CredentialsRefused(f"{host} does not know the service account, or it is disabled. Check it there.")
    return CredentialsRefused(f"{host} refuses the service account. Check it, or enter a new key of it.")


def _reason(content: bytes) -> tuple[str, str]:
    """The reason of a refusal, as one word, and its text."""
    try:
        error = json.loads(content)["error"]
        first = (error.get("errors") or [error])[0]
        reason, text = str(first.get("reason") or error.get("status") or ""), str(error.get("message") or "")
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError):
        return "", content[:200].decode(errors="replace")
    return reason if re.fullmatch(r"[A-Za-z_]{1,60}", reason) else "", text
