"""What the form of an S3 storage may contain; loaded by the web, so it loads no driver."""

import re
from typing import Any
from urllib.parse import urlsplit

from portal.errors import BadValue
from portal.refusals import ErrorCollector
from portal.storage_drivers import endpoints, form_fields
from portal.storage_drivers.form_fields import Field

FORM = (
    Field(name="bucket", label="Bucket", hint="Must already exist, such as research-2027.", role="place"),
    Field(name="region", label="Region", hint="Such as eu-central-1. Empty: us-east-1."),
    form_fields.endpoint("Such as https://s3.site.example:9000. Empty: Amazon's own."),
    Field(
        name="path_style",
        label="Addressing",
        hint="Where an address contains the bucket.",
        kind="choice",
        choices=(
            ("", "Automatic: in the path; at Amazon in the host name"),
            ("yes", "Path style: https://host/bucket"),
            ("no", "Virtual-hosted style: https://bucket.host"),
        ),
        is_wide=True,
    ),
    form_fields.ca(),
    Field(
        name="access_key",
        label="Access key",
        hint="Leave it and the secret empty to use those in the environment of the worker.",
        role="account",
    ),
    Field(name="secret_key", label="Secret", hint="Encrypted, and never shown again.", kind="secret"),
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,40}")
_ACCESS_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def endpoint_url(config: dict[str, Any]) -> str:
    """The endpoint that was entered, else Amazon's own of the region."""
    return str(config.get("endpoint") or f"https://s3.{config.get('region') or 'us-east-1'}.amazonaws.com")


def describe(config: dict[str, Any]) -> str:
    """Bucket and host."""
    return f"{config['bucket']} at {urlsplit(endpoint_url(config)).netloc}"


def clean(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, checked; without an access key, the environment of the worker has to have one.

    Raises BadValue, or BadValues.
    """
    bucket, region, key = (str(config.get(name) or "").strip() for name in ("bucket", "region", "access_key"))
    path_style = config.get("path_style") in (True, "1", "on", "yes", "true")
    if config.get("path_style") in (None, ""):
        # Amazon wants the bucket in the host name; a certificate for it would not match a bucket with a dot.
        path_style = bool(config.get("endpoint")) or "." in str(config.get("bucket") or "")
    cleaned: dict[str, Any] = {"bucket": bucket, "region": region, "path_style": path_style, "access_key": key}
    with ErrorCollector() as refusals:
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            message = "A bucket has a name of letters, digits, dots and dashes, such as research-2027."
            refusals.add(BadValue(message, field="bucket"))
        if region and not _REGION.fullmatch(region):
            message = "A region has a name of letters, digits and dashes, such as eu-central-1."
            refusals.add(BadValue(message, field="region"))
        if key and not _ACCESS_KEY.fullmatch(key):
            refusals.add(BadValue("An access key has up to 128 characters without spaces.", field="access_key"))
        with refusals.kept():
            cleaned["endpoint"] = endpoints.clean(str(config.get("endpoint") or ""))
        with refusals.kept():
            cleaned["ca"] = endpoints.clean_ca(str(config.get("ca") or ""))
    return {name: value for name, value in cleaned.items() if value != ""}


def clean_secret(config: dict[str, Any], secret: dict[str, str]) -> dict[str, str]:
    """The credentials to be sealed. Raises BadValue where they do not fit the configuration."""
    text = secret.get("secret_key", "")
    if config.get("access_key") and not text:
        raise BadValue("Enter the secret of the access key.", field="secret_key")
    if text and not config.get("access_key"):
        raise BadValue("A secret needs its access key; enter both, or none.", field="access_key")
    if text and (len(text) > 256 or not text.isascii() or not text.isprintable() or " " in text):
        raise BadValue("The secret has up to 256 characters without spaces or line breaks.", field="secret_key")
    return {"secret_key": text} if text else {}
