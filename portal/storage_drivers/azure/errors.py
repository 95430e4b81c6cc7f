"""What Azure Blob Storage answers: its lists, and its refusals in words."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree

import requests

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, xml_documents
from portal.storage_drivers.store import ContainerMissing, Interrupted, Stat
from portal.storage_drivers.tokens import CredentialsRefused

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
    "KeyBasedAuthenticationNotPermitted": "takes no account keys. Enter tenant, client and secret instead",
    "AccountIsDisabled": "has been disabled. Ask who runs it",
    "AuthorizationProtocolMismatch": "takes no requests without encryption. Use https:// for the endpoint",
    "AccountRequiresHttps": "takes no requests without encryption. Use https:// for the endpoint",
    "AuthorizationSourceIPMismatch": "refuses the address of this host. Add it to the firewall of the account",
}


class ResponseReader:
    """The answers of one container in words."""

    def __init__(self, container: str, host: str, *, by_key: bool) -> None:
        self._container = container
        self._host = host
        self._credentials = "account key" if by_key else "client"

    def strange(self) -> PortalError:
        return Unreachable(
            f"{self._host} answers, but not as Azure Blob Storage does. Check the endpoint.", permanent=True
        )

    def page(self, content: bytes) -> tuple[Sequence[Stat], str]:
        """The blobs of one page of a list, and the mark of the next one, if any."""
        found = xml_documents.parse(content)
        if found is None or found.tag != "EnumerationResults":
            raise self.strange()
        blobs = [entry for entry in found.iter("Blob") if not _is_folder(entry)]
        return [self._stat(entry) for entry in blobs], found.findtext("NextMarker") or ""

    def _stat(self, entry: ElementTree.Element) -> Stat:
        name, size = entry.findtext("Name"), xml_documents.byte_count(entry.findtext("Properties/Content-Length") or "")
        if not name or size is None:
            raise self.strange()
        return Stat(name, size)

    def failure(self, answer: requests.Response, content: bytes, what: str, name: str = "") -> PortalError:
        """What the store refuses, and what to do."""
        status, code = answer.status_code, _code(answer, content)
        if error := self._of_object(status, code, name) or self._of_account(answer, code, what):
            return error
        if code in _CHANGED or (code == "InvalidOperation" and b"MD5" in content):
            return Interrupted(f"{self._host} received other bytes than were sent.")
        if status == 507 or code == "InsufficientStorage":
            return NoSpace(f"The storage at {self._host} has no room or quota left. Free some space there.")
        if code in _BUSY or status in (408, 429) or (status >= 500 and status not in (501, 505)):
            said = f"HTTP {status} {code}".strip()
            return Interrupted(
                f"{self._host} answers that it cannot just now ({said}).", after=http.retry_after(answer)
            )
        if not code:
            return self.strange()
        return Unreachable(f"{self._host} refuses to {what}: {code}.", permanent=True)

    def _of_object(self, status: int, code: str, name: str) -> PortalError | None:
        if code in ("ContainerNotFound", "ContainerDisabled") or (code == "ResourceNotFound" and not name):
            message = f"There is no container {self._container} at {self._host}. Check its name, or create it there."
            return ContainerMissing(message)
        if code in ("BlobNotFound", "ResourceNotFound", "InvalidBlockList") or (status == 404 and not code and name):
            return Missing(f"There is no object {name}." if name else "The upload is no longer known to the storage.")
        if code in ("BlobAlreadyExists", "UnauthorizedBlobOverwrite", "ConditionNotMet", "TargetConditionNotMet"):
            return Taken("Something has that name there already.")
        if code in _NAMES:
            return BadValue(f"{self._host} does not take this name: it is too long, or has letters that it refuses.")
        if code == "InvalidBlobOrBlock":
            message = "Another program has begun an upload under this name, which blocks ours."
            return NotAllowed(f"{message} Finish it there, or wait: it goes by itself after a week.")
        return None

    def _of_account(self, answer: requests.Response, code: str, what: str) -> PortalError | None:
        if code in _SIGNATURE:
            if _skew(answer) > MAX_CLOCK_SKEW:
                return CredentialsRefused(
                    f"The clocks of this host and of {self._host} differ too much. Set them right."
                )
            return CredentialsRefused(
                f"{self._host} refuses the {self._credentials}. Check the account, or enter a new one."
            )
        if code == "AuthorizationFailure":
            message = f"{self._host} refuses the {self._credentials}, or the address of this host."
            return CredentialsRefused(f"{message} Check both: the credentials, and the firewall of the account.")
        if code in _REFUSED:
            return CredentialsRefused(f"The account at {self._host} {_REFUSED[code]}.")
        if code in _KEPT:
            return NotAllowed(f"A policy of the container {self._container} keeps what was written: it may not {what}.")
        if code in _LEASED:
            return NotAllowed("Another program holds a lease on this object. Release it there.")
        if code == "BlobArchived":
            return NotAllowed("This object lies in the archive tier. Rehydrate it there, then try again.")
        if answer.status_code == 401:
            return CredentialsRefused(f"{self._host} refuses the {self._credentials}. Enter the credentials again.")
        if answer.status_code == 403:
            message = f"The account may not {what} in the container {self._container} at {self._host}."
            return NotAllowed(f"{message} Grant it {REQUIRED_RIGHTS[what]}.")
        return None


def sign_in_error(host: str, said: Mapping[str, Any]) -> PortalError:
    """A refusal of Entra ID in words; its numbers are those of the AADSTS list."""
    number = re.search(r"AADSTS(\d+)", str(said.get("error_description", "")))
    code = number[1] if number else ""
    if code == "7000222":
        return CredentialsRefused("The secret of the client has expired. Make a new one, and enter it here.")
    if code in ("90002", "900023"):
        return CredentialsRefused(f"{host} does not know the tenant. Check it.")
    if code == "700016" or said["error"] == "unauthorized_client":
        return CredentialsRefused(f"{host} does not know the client in this tenant. Check both.")
    if code == "7000215" or said["error"] == "invalid_client":
        return CredentialsRefused(f"{host} refuses the secret of the client. Enter it again (its value, not its id).")
    known = code and f"AADSTS{code}"
    return CredentialsRefused(f"{host} refuses to sign in the client: {known or _plain(str(said['error']))}.")


def _is_folder(entry: ElementTree.Element) -> bool:
    """A directory of a hierarchical namespace, or a blob that only stands for a folder."""
    is_directory = entry.findtext("Properties/ResourceType") == "directory"
    return is_directory or (entry.findtext("Name") or "").endswith("/")


def _code(answer: requests.Response, content: bytes) -> str:
    found = re.search(rb"<Code>([A-Za-z0-9]{1,80})</Code>", content)
    return answer.headers.get("x-ms-error-code") or (found[1].decode() if found else "")


def _skew(answer: requests.Response) -> float:
    """Seconds between our clock and theirs."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return 0.0
    return abs((theirs - datetime.now(UTC)).total_seconds()) if theirs.tzinfo else 0.0


def _plain(text: str) -> str:
    return text[:40] if re.fullmatch(r"[a-z_]+", text) else "no reason given"
