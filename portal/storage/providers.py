"""The providers of external storage, one row each: what checks its form, and which module opens it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal import runtime
from portal.errors import BadValue
from portal.models import Storage
from portal.refusals import ErrorCollector
from portal.storage import same_server
from portal.storage_drivers import form_fields
from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.filesystem import allowed_paths
from portal.storage_drivers.filesystem.allowed_paths import AllowedFolders
from portal.storage_drivers.form_fields import Field
from portal.storage_drivers.gcs import config as gcs_config
from portal.storage_drivers.s3 import config as s3_config

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

Config = dict[str, Any]
Secrets = dict[str, str]


def _no_secret(_config: Config, _secret: Secrets) -> Secrets:
    return {}


def _nothing(_config: Config) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What a provider consists of: a module that checks its form, and one that opens it (recipe in CONTRIBUTING.md)."""

    label: str
    about: str
    """One sentence for the person who chooses."""
    form: tuple[Field, ...]
    """Its fields, besides those of each storage."""
    required_secret: Callable[[Config], str] = _nothing
    """The name of the secret that a configuration needs."""
    clean: Callable[[Config], Config]
    """The configuration, checked."""
    clean_secret: Callable[[Config, Secrets], Secrets] = _no_secret
    """The secrets, checked against a clean configuration. Raises BadValue where one is missing."""
    describe: Callable[[Config], str] = _nothing
    """The place as lists show it: a path, or a bucket and its host."""
    module: str = ""
    """Has `open_destination(config, prefix, secret)`; imported when a storage is opened, so that no web process loads
    the drivers. `config["create_only"]` and `config["mount"]` are what the test has found."""
    options: Callable[[], dict[str, Any]] = dict
    """Arguments of `open_destination` that depend on the site."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of its configuration; all of them may be shown."""
        return form_fields.names(self.form)

    @property
    def place(self) -> tuple[str, ...]:
        """Fields that say where objects are stored: they cannot change once some were exported."""
        return form_fields.names(self.form, "place")

    @property
    def account(self) -> tuple[str, ...]:
        """Fields whose change requires the secrets again, besides `place`."""
        return form_fields.names(self.form, "account")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of its credentials, which are sealed and never shown."""
        return form_fields.secrets(self.form)


def allowed_folders() -> AllowedFolders:
    """The folders of this machine that the site's settings allow."""
    chosen = runtime.current()
    return AllowedFolders(data=chosen.data, roots=tuple(chosen.storage_roots))


PROVIDERS = {
    "fs": Provider(
        label="File system",
        about="A folder of this server, or a disk or share that is mounted there.",
        form=allowed_paths.FORM,
        clean=lambda config: allowed_paths.clean(config, allowed_folders()),
        describe=lambda config: str(config.get("path", "")),
        module="portal.storage_drivers.filesystem.destination",
        options=lambda: {"allowed": allowed_folders()},
    ),
    "s3": Provider(
        label="Amazon S3 and compatible",
        about="A bucket at Amazon, or in a compatible store of your own: MinIO, Ceph, NetApp, Dell and others.",
        form=s3_config.FORM,
        required_secret=lambda _config: "secret_key",
        clean=s3_config.clean,
        clean_secret=s3_config.clean_secret,
        describe=s3_config.describe,
        module="portal.storage_drivers.s3.driver",
    ),
    "gcs": Provider(
        label="Google Cloud Storage",
        about="A bucket at Google.",
        form=gcs_config.FORM,
        required_secret=gcs_config.required_secret,
        clean=gcs_config.clean,
        clean_secret=gcs_config.clean_secret,
        describe=gcs_config.describe,
        module="portal.storage_drivers.gcs.driver",
    ),
    "azure": Provider(
        label="Azure Blob Storage",
        about="A container of a storage account at Microsoft.",
        form=azure_config.FORM,
        required_secret=azure_config.required_secret,
        clean=azure_config.clean,
        clean_secret=azure_config.clean_secret,
        describe=azure_config.describe,
        module="portal.storage_drivers.azure.driver",
    ),
}


def get(name: str) -> Provider:
    """Raises BadValue for an unknown provider."""
    provider = PROVIDERS.get(name)
    if provider is None:
        known = ", ".join(PROVIDERS)
        raise BadValue(f"{name[:40]!r} is not a storage provider. Choose one of: {known}.", field="provider")
    return provider


def clean(name: str, config: Config) -> Config:
    """The configuration of one provider, checked; empty fields may be another's. Raises BadValue, or BadValues."""
    provider = get(name)
    with ErrorCollector() as refusals:
        for field, value in config.items():
            if value not in ("", None, False) and field not in provider.fields:
                refusals.add(BadValue(f"{provider.label} has no {field.replace('_', ' ')}.", field=field))
        return provider.clean({field: config.get(field) for field in provider.fields})


def clean_secret(name: str, config: Config, secret: Secrets) -> Secrets:
    """The secrets for a clean configuration; empty ones are ignored. Raises BadValue."""
    provider = get(name)
    given = {field: value for field, value in secret.items() if value}
    for field in given:
        if field not in provider.secrets:
            raise BadValue(f"{provider.label} has no {field.replace('_', ' ')}.", field=field)
    return provider.clean_secret(config, given)


def refuse_archive_bucket(name: str, config: Config, prefix: str) -> None:
    """Raise BadValue where objects would be stored among the segments of the site's archive, or segments among them."""
    archive, url_of = runtime.current().bucket, {"s3": s3_config.endpoint_url, "gcs": gcs_config.endpoint_url}.get(name)
    if archive is None or url_of is None or config["bucket"] != archive.config["bucket"]:
        return
    mine, other = f"{prefix}/".lstrip("/"), f"{archive.prefix}/".lstrip("/")
    is_within = mine.startswith(other) or other.startswith(mine)
    if is_within and same_server.is_same(url_of(config), s3_config.endpoint_url(archive.config)):
        message = "Portico's own archive uses this bucket, within this prefix or around it."
        raise BadValue(f"{message} Choose another bucket, or a prefix beside it.", field="bucket")


def open_destination(storage: Storage, secret: Secrets, *, threads: int) -> "Destination":
    """The storage; nothing is connected yet. `threads`: how many objects, or parts of large ones, it gets at once.

    Raises BadValue where the site no longer allows its place.
    """
    refuse_archive_bucket(storage.provider, storage.config, storage.prefix)
    provider = get(storage.provider)
    module = importlib.import_module(provider.module)
    config = {**storage.config, "create_only": storage.create_only, "mount": storage.mount}
    opened: Destination = module.open_destination(config, storage.prefix, secret, threads=threads, **provider.options())
    return opened
