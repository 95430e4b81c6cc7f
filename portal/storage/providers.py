"""The kinds of external storage, one row each: what its form is checked by, and which module opens it."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.errors import BadValue
from portal.models import Storage
from portal.storage import paths

if TYPE_CHECKING:
    from portal.storage.destination import Destination

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Provider:
    label: str
    clean: Callable[[Config], Config] | None = None
    module: str = ""
    """Imported when a storage is opened, so that no web process loads the drivers."""


PROVIDERS = {
    "fs": Provider(label="File system", clean=paths.clean, module="portal.storage.fs"),
    "s3": Provider(label="Amazon S3 and compatible"),
    "gcs": Provider(label="Google Cloud Storage"),
    "azure": Provider(label="Azure Blob Storage"),
}


def clean(name: str, config: Config) -> Config:
    """The configuration of one provider, checked. Raises BadValue."""
    provider = PROVIDERS.get(name)
    if provider is None:
        known = ", ".join(PROVIDERS)
        raise BadValue(f"{name[:40]!r} is no kind of storage. Choose one of: {known}.", field="provider")
    if provider.clean is None:
        raise BadValue(f"{provider.label} is not available yet. Use a file system (fs).", field="provider")
    return provider.clean(config)


def destination(storage: Storage) -> "Destination":
    """The storage; nothing is reached for yet. Raises BadValue where the site no longer allows its place."""
    module = importlib.import_module(PROVIDERS[storage.provider].module)
    opened: Destination = module.open_destination(storage.config, storage.prefix, {})
    return opened
