"""What the form of an Azure storage may contain; loaded by the web, so it loads no driver."""

import base64
import binascii
import re
from typing import Any
from urllib.parse import urlsplit

from portal.errors import BadValue
from portal.refusals import ErrorCollector
from portal.storage_drivers import endpoints, form_fields
from portal.storage_drivers.form_fields import Field

FORM = (
    Field(name="account", label="Storage account", hint="Such as hospitalarchive.", role="place"),
    Field(name="container", label="Container", hint="Must already exist, such as research-2027.", role="place"),
    Field(
        name="account_key",
        label="Account key",
        hint="Encrypted, and never shown again. Empty if an application signs in.",
        kind="secret",
        is_wide=True,
    ),
    Field(
        name="tenant",
        label="Tenant",
        hint="Instead of a key: an application of Entra ID (Azure AD) signs in. The tenant's id or domain.",
        role="account",
    ),
    Field(name="client", label="Client", hint="The application's id: 32 hex digits in five groups.", role="account"),
    Field(
        name="client_secret",
        label="Client secret",
        hint="Encrypted, and never shown again.",
        kind="secret",
    ),
    Field(
        name="authority",
        label="Authority",
        hint="The server that signs the client in. Empty: Microsoft's own.",
        role="account",
    ),
    form_fields.endpoint("Empty: the account's own in Microsoft's public cloud."),
    form_fields.ca(),
)
FIELDS = form_fields.names(FORM)
DEFAULT_AUTHORITY = "https://login.microsoftonline.com"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*|\$root")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{2,252}")
_CLIENT = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def endpoint_url(config: dict[str, Any]) -> str:
    """The endpoint that was entered, else the account's own in the public cloud."""
    return str(config.get("endpoint") or f"https://{config['account']}.blob.core.windows.net")


def describe(config: dict[str, Any]) -> str:
    """Container and host."""
    return f"{config['container']} at {urlsplit(endpoint_url(config)).netloc}"


def required_secret(config: dict[str, Any]) -> str:
    """The name of the secret that a configuration needs."""
    return "client_secret" if config.get("client") else "account_key"


def clean(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, checked: with tenant and client for Entra ID (Azure AD), else for the account's key.

    Raises BadValue, or BadValues.
    """
    given = {name: str(config.get(name) or "").strip() for name in FIELDS}
    with ErrorCollector() as refusals:
        if not _ACCOUNT.fullmatch(given["account"]):
            message = "A storage account has a name of 3 to 24 lower-case letters and digits, such as hospitalarchive."
            refusals.add(BadValue(message, field="account"))
        if not _CONTAINER.fullmatch(given["container"]):
            message = "A container has a name of 3 to 63 lower-case letters, digits and single dashes: research-2027."
            refusals.add(BadValue(message, field="container"))
        for name in ("endpoint", "authority"):
            with refusals.kept():
                given[name] = endpoints.clean(given[name], field=name)

        if given["tenant"] or given["client"]:
            if not _TENANT.fullmatch(given["tenant"]):
                message = "The tenant is its id or its domain, such as hospital.onmicrosoft.com."
                refusals.add(BadValue(message, field="tenant"))
            if not _CLIENT.fullmatch(given["client"]):
                message = "The client is the application's id: 32 hex digits in five groups."
                refusals.add(BadValue(message, field="client"))
            if given["authority"].startswith("http:"):
                refusals.add(BadValue("A secret is sent to the authority; use https.", field="authority"))
        elif given["authority"]:
            refusals.add(BadValue("An authority is only for tenant and client; leave it empty.", field="authority"))

        with refusals.kept():
            given["ca"] = endpoints.clean_ca(given["ca"])
    return {name: value for name, value in given.items() if value}


def clean_secret(config: dict[str, Any], secret: dict[str, str]) -> dict[str, str]:
    """The credentials to be sealed: the one that the configuration needs. Raises BadValue."""
    key, client_secret = (secret.get(name, "").strip() for name in ("account_key", "client_secret"))
    if config.get("client"):
        if key:
            raise BadValue("With tenant and client there is no account key; leave it empty.", field="account_key")
        if not client_secret:
            raise BadValue("Enter the client secret.", field="client_secret")
        if len(client_secret) > 256 or not client_secret.isascii() or not client_secret.isprintable():
            raise BadValue("A client secret has up to 256 characters without line breaks.", field="client_secret")
        return {"client_secret": client_secret}
    if client_secret:
        raise BadValue("A client secret needs its tenant and client; enter all three.", field="client")
    if not key:
        raise BadValue("Enter a key of the account, or tenant, client and client secret.", field="account_key")
    decode_account_key(key)
    return {"account_key": key}


def decode_account_key(key: str) -> bytes:
    """The account key as bytes. Raises BadValue for one that is not base64."""
    try:
        decoded = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) < 16:
        message = (
            "This is not an account key, which has 88 characters and ends with ==. Copy it whole, without its name."
        )
        raise BadValue(message, field="account_key")
    return decoded
