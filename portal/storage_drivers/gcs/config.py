"""What the form of a Google Cloud storage may contain; loaded by the web, so it loads no driver."""

import ipaddress
import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from portal.errors import BadValue
from portal.refusals import ErrorCollector
from portal.storage_drivers import endpoints, form_fields
from portal.storage_drivers.form_fields import Field

FORM = (
    Field(
        name="bucket",
        label="Bucket",
        hint="Must already exist, such as research-2027.",
        role="place",
        is_wide=True,
    ),
    Field(
        name="service_account",
        label="Service account key",
        hint="The whole JSON file that Google issues. Encrypted, and never shown again.",
        kind="secret_lines",
        is_wide=True,
    ),
    Field(
        name="access_key",
        label="Access key (HMAC)",
        hint="Instead of a service account; it begins with GOOG.",
        role="account",
    ),
    Field(
        name="secret_key",
        label="Secret",
        hint="The secret of the access key. Encrypted, and never shown again.",
        kind="secret",
    ),
    form_fields.endpoint("Empty: Google's own."),
    form_fields.ca(),
)
FIELDS = form_fields.names(FORM)
DEFAULT_ENDPOINT = "https://storage.googleapis.com"
DEFAULT_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
_REQUIRED = ("client_email", "private_key")
_KEPT = ("client_email", "private_key_id", "private_key", "token_uri")
_BUCKET = re.compile(r"(?=.{3,222}$)[a-z0-9]([a-z0-9._-]*[a-z0-9])")
_HMAC = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EMAIL = re.compile(r"[\x21-\x7e]+@[\x21-\x7e]+")
_MAX_KEY_FILE_LENGTH = 100_000


def endpoint_url(config: dict[str, Any]) -> str:
    """The endpoint that was entered, else Google's own."""
    return str(config.get("endpoint") or DEFAULT_ENDPOINT)


def describe(config: dict[str, Any]) -> str:
    """Bucket and host."""
    return f"{config['bucket']} at {urlsplit(endpoint_url(config)).netloc}"


def required_secret(config: dict[str, Any]) -> str:
    """The name of the secret that a configuration needs."""
    return "secret_key" if config.get("access_key") else "service_account"


def clean(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, checked; without an access key (HMAC), a service account signs in. Raises BadValue or more."""
    given = {name: str(config.get(name) or "").strip() for name in FIELDS}
    with ErrorCollector() as refusals:
        if not _BUCKET.fullmatch(given["bucket"]) or ".." in given["bucket"]:
            message = "A bucket has a name of 3 to 222 lower-case letters, digits, dots, dashes and underscores."
            refusals.add(BadValue(message, field="bucket"))
        if given["access_key"] and not _HMAC.fullmatch(given["access_key"]):
            message = "The access key of an HMAC key has only letters and digits; it begins with GOOG."
            refusals.add(BadValue(message, field="access_key"))
        with refusals.kept():
            given["endpoint"] = endpoints.clean(given["endpoint"])
        with refusals.kept():
            given["ca"] = endpoints.clean_ca(given["ca"])
    return {name: value for name, value in given.items() if value}


def clean_secret(config: dict[str, Any], secret: dict[str, str]) -> dict[str, str]:
    """The credentials to be sealed: the one that the configuration needs. Raises BadValue."""
    account, hmac = (secret.get(name, "").strip() for name in ("service_account", "secret_key"))
    if account and (hmac or config.get("access_key")):
        message = "Enter the service account, or access key and secret; not both."
        raise BadValue(message, field="service_account")
    if config.get("access_key"):
        if not hmac:
            raise BadValue("Enter the secret of the access key.", field="secret_key")
        if len(hmac) > 256 or not hmac.isascii() or not hmac.isprintable() or " " in hmac:
            raise BadValue("The secret has up to 256 characters without spaces or line breaks.", field="secret_key")
        return {"secret_key": hmac}
    if hmac:
        raise BadValue("A secret needs its access key; enter both, or a service account.", field="access_key")
    if not account:
        message = "Enter the JSON key of a service account, or access key and secret (HMAC)."
        raise BadValue(message, field="service_account")
    return {"service_account": json.dumps(parse_service_account(account))}


def parse_service_account(text: str) -> dict[str, str]:
    """What is needed of the JSON key that Google issues. Raises BadValue, which names what is missing."""
    if len(text) > _MAX_KEY_FILE_LENGTH:
        raise _invalid_key(f"It has more than {_MAX_KEY_FILE_LENGTH:,} characters.")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid_key("It is not JSON; copy the whole file.") from error
    if not isinstance(fields, dict):
        raise _invalid_key("It is not a JSON object; copy the whole file.")

    kind = fields.get("type", "service_account")
    if kind != "service_account":
        raise _invalid_key(f"It is of the type {str(kind)[:40]!r}; create a key of a service account.")
    for name in _REQUIRED:
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise _invalid_key(f"It lacks {name}; copy the whole file.")
    if not _EMAIL.fullmatch(fields["client_email"]):
        raise _invalid_key("Its client_email is not the address of an account.")
    load_private_key(fields["private_key"])
    fields.setdefault("token_uri", DEFAULT_TOKEN_URI)
    _check_token_uri(str(fields["token_uri"]))
    return {name: str(fields[name]) for name in _KEPT if name in fields}


def load_private_key(pem: str, *, is_checked: bool = False) -> RSAPrivateKey:
    """Raises BadValue. Checking its numbers takes 50 ms, which is not needed for a key that was accepted before."""
    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=is_checked)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _invalid_key("Its private_key cannot be read; copy the file again.") from error
    if not isinstance(key, RSAPrivateKey):
        raise _invalid_key("Its private_key is not for RSA, as Google's are.")
    return key


def _check_token_uri(uri: str) -> None:
    """Raises BadValue for an address without TLS: whoever reads the signed request that is sent there can sign in."""
    parts = urlsplit(uri)
    try:
        host, _port, is_secure = endpoints.parse(f"{parts.scheme}://{parts.netloc}")
    except BadValue as error:
        raise _invalid_key("Its token_uri is not an address; copy the file again.") from error
    is_loopback = False
    with suppress(ValueError):
        is_loopback = ipaddress.ip_address(host).is_loopback
    if not is_secure and not is_loopback:
        raise _invalid_key("Its token_uri is not https.")


def _invalid_key(reason: str) -> BadValue:
    return BadValue(f"This is not the key of a service account. {reason}", field="service_account")
