"""What Google Cloud Storage answers: its JSON, and its refusals in words."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import ContainerMissing, Interrupted, Stat
from portal.storage_drivers.tokens import CredentialsRefused

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
    "accountDisabled": "The billing of the bucket's project is off. Ask who runs it",
    "accessNotConfigured": "The API of Cloud Storage is off in the project. Turn it on there",
    "userProjectMissing": "The bucket has its requestor pay, which is not supported. Use another one",
    "sslRequired": "Google takes no requests without encryption. Use https:// for the endpoint",
}


class ResponseReader:
    """The answers of one bucket in words."""

    def __init__(self, bucket: str, host: str) -> None:
        self._bucket = bucket
        self._host = host

    def strange(self) -> PortalError:
        message = f"{self._host} answers, but not as Google Cloud Storage does. Check the endpoint."
        return Unreachable(message, permanent=True)

    def document(self, content: bytes) -> Mapping[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.strange() from error
        if not isinstance(found, dict):
            raise self.strange()
        return found

    def stat(self, found: Mapping[str, Any]) -> Stat:
        name, size = found.get("name"), xml_documents.byte_count(str(found.get("size", "")))
        if not isinstance(name, str) or size is None:
            raise self.strange()
        return Stat(name, size)

    def page(self, content: bytes) -> tuple[Sequence[Stat], str]:
        """The objects of one page of a list, and the mark of the next one, if any."""
        found = self.document(content)
        stats = [self.stat(item) for item in found.get("items", ())]
        return [stat for stat in stats if not stat.key.endswith("/")], str(found.get("nextPageToken") or "")

    def failure(self, answer: requests.Response, content: bytes, what: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status = answer.status_code
        reason, message = _reason(content)
        if error := self._of_object(status, message, name) or self._of_account(status, reason, what):
            return error
        if status == 400 and re.search("md5|crc32c|hash", message, re.IGNORECASE):
            return Interrupted(f"{self._host} received other bytes than were sent.")
        if status in (408, 409, 429) or (status >= 500 and status not in (501, 505)):
            said = f"HTTP {status} {reason}".strip()
            return Interrupted(
                f"{self._host} answers that it cannot just now ({said}).", after=http.retry_after(answer)
            )
        if not reason:
            return self.strange()
        return Unreachable(f"{self._host} refuses to {what}: {reason}.", permanent=True)

    def _of_object(self, status: int, message: str, name: str) -> PortalError | None:
        if status == 412:
            return Taken("Something has that name there already.")
        if status == 404 and (not name or re.search("bucket does not exist", message, re.IGNORECASE)):
            return ContainerMissing(
                f"There is no bucket {self._bucket} at {self._host}. Check its name, or create it there."
            )
        if status == 404:
            return Missing(f"There is no object {name}.")
        if status in (410, 499):
            return Missing("The upload is no longer known to the storage.")
        if status == 414 or (status == 400 and re.search("object name|name is too long", message, re.IGNORECASE)):
            return BadValue(f"{self._host} does not take this name: it is too long, or has letters that it refuses.")
        return None

    def _of_account(self, status: int, reason: str, what: str) -> PortalError | None:
        if status == 401:
            return CredentialsRefused(f"{self._host} refuses the service account. Check it, or enter a new key of it.")
        if reason in _REFUSED:
            return NotAllowed(f"{_REFUSED[reason]}.")
        if reason in _KEPT:
            return NotAllowed(f"A policy of the bucket {self._bucket} keeps what was written: it may not {what}.")
        if reason in _FULL:
            return NoSpace(
                f"The bucket {self._bucket} has no quota left ({reason}). Raise it, or free some space there."
            )
        if reason in _BUSY:
            return Interrupted(f"{self._host} answers that it cannot just now ({reason}).")
        if status == 403:
            message = f"The account may not {what} in the bucket {self._bucket} at {self._host}."
            return NotAllowed(f"{message} Grant it {REQUIRED_RIGHTS[what]}.")
        return None


def sign_in_error(host: str, said: Mapping[str, Any]) -> PortalError:
    """A refusal of Google's token server in words."""
    description = str(said.get("error_description", "")).lower()
    if "timeframe" in description or "short-lived" in description:
        return CredentialsRefused(f"The clock of this host and of {host} differ too much. Set it right.")
    if "signature" in description:
        return CredentialsRefused(
            f"{host} refuses the key of the service account, which may be deleted. Enter a new one."
        )
    if "not found" in description or "disabled" in description:
        return CredentialsRefused(f"{host} does not know the service account, or it is disabled. Check it there.")
    return CredentialsRefused(f"{host} refuses the service account. Check it, or enter a new key of it.")


def _reason(content: bytes) -> tuple[str, str]:
    """The reason of a refusal, as one word, and its message."""
    try:
        error = json.loads(content)["error"]
        first = (error.get("errors") or [error])[0]
        reason, message = str(first.get("reason") or error.get("status") or ""), str(error.get("message") or "")
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError):
        return "", content[:200].decode(errors="replace")
    return reason if re.fullmatch(r"[A-Za-z_]{1,60}", reason) else "", message
