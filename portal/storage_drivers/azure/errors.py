"""What Azure Blob Storage answers: its lists, and its refusals translated."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import NAME_TAKEN, ContainerMissing, CredentialsRefused, Interrupted, Stat

REQUIRED_RIGHTS = {"write": "blobs/write", "read": "blobs/read", "list": "blobs/read", "delete": "blobs/delete"}
MAX_CLOCK_SKEW = 900
"""Seconds that the clocks may differ."""
_SIGNATURE = {"AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"}
_KEPT = {"BlobImmutableDueToPolicy", "ContainerImmutableDueToPolicy", "BlobImmutableDueToLegalHold"}
_CHANGED = {"Md5Mismatch", "InvalidMd5", "Crc64Mismatch"}
_BUSY = {"ServerBusy", "InternalError", "OperationTimedOut", "ContainerBeingDeleted", "AccountBeingCreated"}
_NAMES = {"InvalidResourceName", "InvalidUri", "OutOfRangeInput", "InvalidBlobName"}
_LEASED = {"LeaseIdMissing", "LeaseIdMismatchWithBlobOperation"}
_REFUSED = {
    "KeyBasedAuthenticationNotPermitted": "accepts no account keys. Enter tenant, client and secret instead",
    "AccountIsDisabled": "has been disabled. Ask its administrator",
    "AuthorizationProtocolMismatch": "accepts no requests without encryption. Use https:// for the endpoint",
    "AccountRequiresHttps": "accepts no requests without encryption. Use https:// for the endpoint",
    "AuthorizationSourceIPMismatch": "refuses the address of this host. Add it to the firewall of the account",
}


class ResponseReader:
    """Reads the answers of one container."""

    def __init__(self, container: str, host: str, *, by_key: bool) -> None:
        self._container = container
        self._host = host
        self._credentials = "account key" if by_key else "client"

    def unexpected(self) -> PortalError:
        message = f"{self._host} answers, but not like Azure Blob Storage. Check the endpoint."
        return Unreachable(message, permanent=True)

    def page(self, content: bytes) -> tuple[Sequence[Stat], str]:
        """The blobs of one page of a list, without placeholders of folders, and the mark of the next one, if any."""
        document = xml_documents.parse(content)
        if document is None or document.tag != "EnumerationResults":
            raise self.unexpected()
        stats = []
        for entry in document.iter("Blob"):
            name = entry.findtext("Name")
            is_directory = entry.findtext("Properties/ResourceType") == "directory"
            if is_directory or (name or "").endswith("/"):
                continue
            size = xml_documents.byte_count(entry.findtext("Properties/Content-Length") or "")
            if not name or size is None:
                raise self.unexpected()
            stats.append(Stat(name, size))
        return stats, document.findtext("NextMarker") or ""

    def failure(self, answer: requests.Response, content: bytes, operation: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status, named = answer.status_code, re.search(rb"<Code>([A-Za-z0-9]{1,80})</Code>", content)
        code = answer.headers.get("x-ms-error-code") or (named[1].decode() if named else "")
        if error := self._object_failure(status, code, name) or self._account_failure(answer, code, operation):
            return error
        if code in _CHANGED or (code == "InvalidOperation" and b"MD5" in content):
            return Interrupted(f"{self._host} received different bytes than were sent.")
        if status == 507 or code == "InsufficientStorage":
            return NoSpace(f"The storage at {self._host} has no room or quota left. Free some space there.")
        if code in _BUSY or status in (408, 429) or (status >= 500 and status not in (501, 505)):
            reason = f"HTTP {status} {code}".strip()
            message = f"{self._host} is temporarily unavailable ({reason})."
            return Interrupted(message, retry_after=http.retry_after(answer))
        if not code:
            return self.unexpected()
        return Unreachable(f"{self._host} refuses to {operation}: {code}.", permanent=True)

    def _object_failure(self, status: int, code: str, name: str) -> PortalError | None:
        if code in ("ContainerNotFound", "ContainerDisabled") or (code == "ResourceNotFound" and not name):
            message = f"There is no container {self._container} at {self._host}. Check its name, or create it there."
            return ContainerMissing(message)
        if code in ("BlobNotFound", "ResourceNotFound", "InvalidBlockList") or (status == 404 and not code and name):
            return Missing(f"There is no object {name}." if name else "The upload is no longer known to the storage.")
        if code in ("BlobAlreadyExists", "UnauthorizedBlobOverwrite", "ConditionNotMet", "TargetConditionNotMet"):
            return Taken(NAME_TAKEN)
        if code in _NAMES:
            return BadValue(f"{self._host} does not accept this name: it is too long, or has characters it refuses.")
        if code == "InvalidBlobOrBlock":
            message = "Another program has started an upload under this name, which blocks ours."
            return NotAllowed(f"{message} Finish it there, or wait: Azure deletes it after a week.")
        return None

    def _account_failure(self, answer: requests.Response, code: str, operation: str) -> PortalError | None:
        if code in _SIGNATURE:
            if _clock_skew(answer) > MAX_CLOCK_SKEW:
                return CredentialsRefused(
                    f"The clocks of this host and of {self._host} differ too much. Set them right."
                )
            message = f"{self._host} refuses the {self._credentials}. Check the account, or enter a new one."
            return CredentialsRefused(message)
        if code == "AuthorizationFailure":
            message = f"{self._host} refuses the {self._credentials}, or the address of this host."
            return CredentialsRefused(f"{message} Check both: the credentials, and the firewall of the account.")
        if code in _REFUSED:
            return CredentialsRefused(f"The account at {self._host} {_REFUSED[code]}.")
        if code in _KEPT:
            message = f"A policy of the container {self._container} protects what was written: it may not {operation}."
            return NotAllowed(message)
        if code in _LEASED:
            return NotAllowed("Another program holds a lease on this object. Release it there.")
        if code == "BlobArchived":
            return NotAllowed("This object is in the archive tier. Rehydrate it there, then try again.")
        if answer.status_code == 401:
            return CredentialsRefused(f"{self._host} refuses the {self._credentials}. Enter the credentials again.")
        if answer.status_code == 403:
            message = f"The account may not {operation} in the container {self._container} at {self._host}."
            return NotAllowed(f"{message} Grant it {REQUIRED_RIGHTS[operation]}.")
        return None


def sign_in_error(host: str, answer: Mapping[str, Any]) -> PortalError:
    """What a refusal of Entra ID means; its numbers are those of the AADSTS list."""
    number = re.search(r"AADSTS(\d+)", str(answer.get("error_description", "")))
    code, error = number[1] if number else "", answer["error"]
    if code == "7000222":
        return CredentialsRefused("The client secret has expired. Create a new one, and enter it here.")
    if code in ("90002", "900023"):
        return CredentialsRefused(f"{host} does not know the tenant. Check it.")
    if code == "700016" or error == "unauthorized_client":
        return CredentialsRefused(f"{host} does not know the client in this tenant. Check both.")
    if code == "7000215" or error == "invalid_client":
        return CredentialsRefused(f"{host} refuses the client secret. Enter it again (its value, not its id).")
    reason = str(error)[:40] if re.fullmatch(r"[a-z_]+", str(error)) else "no reason given"
    reason = f"AADSTS{code}" if code else reason
    return CredentialsRefused(f"{host} refuses to sign in the client: {reason}.")


def _clock_skew(answer: requests.Response) -> float:
    """Seconds between our clock and theirs."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return 0.0
    return abs((theirs - datetime.now(UTC)).total_seconds()) if theirs.tzinfo else 0.0
