"""The kinds of external storage, one row each: what its form is checked by, and which module opens it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.errors import BadValue
from portal.models import Storage
from portal.storage import azure_config, gcs_config, paths, s3_config

if TYPE_CHECKING:
    from portal.storage.destination import Destination

Config = dict[str, Any]
Secrets = dict[str, str]


def _no_secret(_config: Config, _secret: Secrets) -> Secrets:
    return {}


def _nothing(_config: Config) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What a new kind needs: a module that checks its form, and one that opens it (recipe in CONTRIBUTING.md)."""

    label: str
    fields: tuple[str, ...] = ()
    """What its configuration may have; all of it may be shown."""
    place: tuple[str, ...] = ()
    """Fields that say where objects lie: they stay once some were exported."""
    account: tuple[str, ...] = ()
    """Fields whose change asks for the secrets again, beside `place`."""
    secrets: tuple[str, ...] = ()
    """Names of its credentials that are sealed and never shown."""
    asks_for: Callable[[Config], str] = _nothing
    """Which of the secrets a configuration wants."""
    clean: Callable[[Config], Config]
    """The configuration, checked."""
    clean_secret: Callable[[Config, Secrets], Secrets] = _no_secret
    """The secrets, checked against a clean configuration. Raises BadValue where one is missing."""
    in_words: Callable[[Config], str] = _nothing
    """The place in a list: a path, or a bucket and its host."""
    module: str = ""
    """Has `open_destination(config, prefix, secret)`; imported when a storage is opened, so that no web process loads
    the drivers. `config["create_only"]` says what the test has found."""


PROVIDERS = {
    "fs": Provider(
        label="File system",
        fields=("path",),
        place=("path",),
        clean=paths.clean,
        in_words=lambda config: str(config.get("path", "")),
        module="portal.storage.fs",
    ),
    "s3": Provider(
        label="Amazon S3 and compatible",
        fields=s3_config.FIELDS,
        place=s3_config.PLACE,
        account=s3_config.ACCOUNT,
        secrets=s3_config.SECRETS,
        asks_for=lambda _config: s3_config.SECRETS[0],
        clean=s3_config.clean,
        clean_secret=s3_config.clean_secret,
        in_words=s3_config.in_words,
        module="portal.storage.s3",
    ),
    "gcs": Provider(
        label="Google Cloud Storage",
        fields=gcs_config.FIELDS,
        place=gcs_config.PLACE,
        account=gcs_config.ACCOUNT,
        secrets=gcs_config.SECRETS,
        asks_for=gcs_config.asks_for,
        clean=gcs_config.clean,
        clean_secret=gcs_config.clean_secret,
        in_words=gcs_config.in_words,
        module="portal.storage.gcs",
    ),
    "azure": Provider(
        label="Azure Blob Storage",
        fields=azure_config.FIELDS,
        place=azure_config.PLACE,
        account=azure_config.ACCOUNT,
        secrets=azure_config.SECRETS,
        asks_for=azure_config.asks_for,
        clean=azure_config.clean,
        clean_secret=azure_config.clean_secret,
        in_words=azure_config.in_words,
        module="portal.storage.azure",
    ),
}


def named(name: str) -> Provider:
    """Raises BadValue for one that is not known."""
    provider = PROVIDERS.get(name)
    if provider is None:
        known = ", ".join(PROVIDERS)
        raise BadValue(f"{name[:40]!r} is no kind of storage. Choose one of: {known}.", field="provider")
    return provider


def clean(name: str, config: Config) -> Config:
    """The configuration of one provider, checked; what is empty may be a field of another. Raises BadValue."""
    provider = named(name)
    for field, value in config.items():
        if value not in ("", None, False) and field not in provider.fields:
            raise BadValue(f"{provider.label} has no {field.replace('_', ' ')}.", field=field)
    return provider.clean({field: config.get(field) for field in provider.fields})


def clean_secret(name: str, config: Config, secret: Secrets) -> Secrets:
    """The secrets for a clean configuration; what is empty is not given. Raises BadValue."""
    provider = named(name)
    given = {field: value for field, value in secret.items() if value}
    for field in given:
        if field not in provider.secrets:
            raise BadValue(f"{provider.label} has no {field.replace('_', ' ')}.", field=field)
    return provider.clean_secret(config, given)


def destination(storage: Storage, secret: Secrets) -> "Destination":
    """The storage; nothing is reached for yet. Raises BadValue where the site no longer allows its place."""
    module = importlib.import_module(named(storage.provider).module)
    config = {**storage.config, "create_only": storage.create_only}
    opened: Destination = module.open_destination(config, storage.prefix, secret)
    return opened
