"""What a process needs to start, from the environment; what an admin changes is in `site_settings`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from portal.errors import BadSetting, PortalError

GIGABYTE = 1_000_000_000
SYSLOG_PORT = 514
Network = IPv4Network | IPv6Network
SECRET_VARIABLES = {"access_key": "PORTAL_ARCHIVE_ACCESS_KEY", "secret_key": "PORTAL_ARCHIVE_SECRET"}
BUCKET_OPTIONS = ("endpoint", "region", "path_style", "ca", "bandwidth")


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """The bucket of closed segments of the archive, as `portal.storage_drivers.s3.driver` takes it."""

    config: dict[str, Any]
    prefix: str
    secret: dict[str, str] = field(repr=False)
    bandwidth: int = 0
    """Limit in bytes per second for replicating, and for reading back to compare; 0 for none."""
    silence: float = 5.0
    """Seconds after a failed request in which no other request waits for it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Paths, limits and addresses. All paths are absolute, and cached, as they are used often."""

    data: Path
    redis_url: str | None
    storage_roots: tuple[Path, ...]
    min_free: int
    """The reserve: bytes that stay free on the archive's disk (docs/decisions/0087)."""
    max_upload: int
    """The largest upload by REST, in bytes."""
    requests_per_key: int
    """Requests a minute with one API key; more are answered 429."""
    requests_per_address: int
    """Requests a minute from one address to the REST interface."""
    cheap_passwords: bool
    """Minimum cost of argon2, for tests only."""
    cookie_secure: bool
    trusted_proxies: tuple[Network, ...]
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; empty for none."""
    bucket: BucketSettings | None = None
    """None: the whole archive is in the data folder."""
    archive_cache: int = 0
    """Bytes on this disk for copies of what is in the bucket: half for segments, half for blocks that were read."""
    dimse_wire: str = "fast"
    """Which code speaks DICOM with peers that call: `fast`, or `stock` for pynetdicom's threads."""
    audit_syslog: str | tuple[str, int] | None = None
    """Where each anchor of the audit log is also sent: a socket's path, or host and UDP port; None for nowhere."""

    @cached_property
    def database(self) -> Path:
        return self.data / "portal.db"

    @cached_property
    def archive(self) -> Path:
        return self.data / "archive"

    @cached_property
    def site_key(self) -> Path:
        return self.data / "keys" / "site.key"

    @cached_property
    def ballast(self) -> Path:
        """On the database's disk: see `ballast`."""
        return self.data / "ballast"

    @cached_property
    def audit_anchors(self) -> Path:
        return self.data / "audit-anchors.jsonl"

    @cached_property
    def run(self) -> Path:
        """Sockets and locks of the processes that run now."""
        return self.data / "run"


def load(data: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises BadSetting with the variable's name for an invalid value."""
    folder = (data or Path(read_variable(environ, "PORTAL_DATA") or "data")).expanduser().resolve()
    return Settings(
        data=folder,
        redis_url=read_variable(environ, "PORTAL_REDIS_URL"),
        storage_roots=_roots(read_variable(environ, "PORTAL_STORAGE_ROOTS"), folder),
        min_free=_size(environ, "PORTAL_MIN_FREE", default=0) or min(_disk(folder) // 20, 10 * GIGABYTE),
        max_upload=_size(environ, "PORTAL_MAX_UPLOAD", default=64 * GIGABYTE),
        requests_per_key=_count(environ, "PORTAL_REQUESTS_PER_KEY", default=30_000),
        requests_per_address=_count(environ, "PORTAL_REQUESTS_PER_ADDRESS", default=60_000),
        cheap_passwords=_flag(environ, "PORTAL_CHEAP_PASSWORDS"),
        cookie_secure=_flag(environ, "PORTAL_COOKIE_SECURE"),
        trusted_proxies=_networks(environ, "PORTAL_TRUSTED_PROXIES"),
        bucket=_bucket(environ),
        archive_cache=_size(environ, "PORTAL_ARCHIVE_CACHE", default=min(_disk(folder) // 10, 100 * GIGABYTE)),
        dimse_wire=_wire(read_variable(environ, "PORTAL_DIMSE_WIRE")),
        audit_syslog=_syslog(read_variable(environ, "PORTAL_AUDIT_SYSLOG")),
    )


def has_content(path: Path) -> bool:
    """Whether a file exists and is not empty: SQLite creates an empty one before its first table."""
    return path.is_file() and path.stat().st_size > 0


def read_variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a variable; NAME_FILE overrides NAME, so that a secret need not be in the environment."""
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise BadSetting(f"{name}_FILE names {path}, which cannot be read: {error.strerror}.") from error
    return environ.get(name) or None


def _roots(text: str | None, data: Path) -> tuple[Path, ...]:
    if text is None:
        return (data / "storage",)
    roots = tuple(Path(part) for part in text.split(os.pathsep) if part)
    for root in roots:
        if not root.is_absolute():
            raise BadSetting(f"PORTAL_STORAGE_ROOTS names {root}, which is not an absolute path.")
    return tuple(root.resolve() for root in roots)


def _size(environ: Mapping[str, str], name: str, *, default: int) -> int:
    text = read_variable(environ, name)
    if text is None:
        return default
    if not text.isdecimal():
        raise BadSetting(f"{name} is {text!r}. It must be a number of bytes.")
    return int(text)


def _count(environ: Mapping[str, str], name: str, *, default: int) -> int:
    text = read_variable(environ, name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise BadSetting(f"{name} is {text!r}. It must be a number of requests a minute, at least 1.")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = read_variable(environ, name)
    if text not in (None, "0", "1"):
        raise BadSetting(f"{name} is {text!r}. It must be 0 or 1.")
    return text == "1"


def _wire(text: str | None) -> str:
    if text not in (None, "fast", "stock"):
        raise BadSetting(f"PORTAL_DIMSE_WIRE is {text!r}. It must be fast or stock.")
    return text or "fast"


def _networks(environ: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """Addresses and networks, separated by commas."""
    parts = [part.strip() for part in (read_variable(environ, name) or "").split(",")]
    try:
        return tuple(ip_network(part) for part in parts if part)
    except ValueError as error:
        raise BadSetting(f"{name} must be addresses or networks such as 127.0.0.1 or 10.0.0.0/24: {error}.") from error


def _syslog(text: str | None) -> str | tuple[str, int] | None:
    """`/dev/log`, `HOST` or `HOST:PORT`."""
    if text is None or text.startswith("/"):
        return text
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.netloc == text and "@" not in text:
            return parts.hostname, parts.port or SYSLOG_PORT
    except ValueError:
        pass
    raise BadSetting(f"PORTAL_AUDIT_SYSLOG is {text!r}. Write it like /dev/log, log.site.example or 10.0.0.5:514.")


def _bucket(environ: Mapping[str, str]) -> BucketSettings | None:
    """`s3://BUCKET/PREFIX?endpoint=…&region=…&path_style=1&ca=FILE&bandwidth=…`.

    No message repeats the value, as it may contain a secret by mistake.
    """
    url = read_variable(environ, "PORTAL_ARCHIVE")
    if url is None:
        return None
    from portal.storage_drivers import object_keys
    from portal.storage_drivers.s3 import (
        config as s3_config,  # most processes have no bucket, and need not load what checks one
    )

    try:
        config, prefix = _place(url)
        bandwidth = int(config.pop("bandwidth", "0"))
        config["access_key"] = read_variable(environ, "PORTAL_ARCHIVE_ACCESS_KEY")
        config = s3_config.clean(config)
        secret = s3_config.clean_secret(config, {"secret_key": read_variable(environ, "PORTAL_ARCHIVE_SECRET") or ""})
        prefix = object_keys.clean_prefix(prefix)
    except (PortalError, ValueError) as error:
        field = getattr(error, "field", None) or ""
        variable = SECRET_VARIABLES.get(field, "PORTAL_ARCHIVE")
        if field == "endpoint":
            reason = "Its endpoint must be like https://s3.site.example:9000, without a path."
        elif isinstance(error, PortalError):
            reason = error.message
        else:
            options = ", ".join(BUCKET_OPTIONS)
            reason = f"Write it like s3://BUCKET/PREFIX?endpoint=https://s3.site.example ({options} are known)."
        raise BadSetting(f"{variable} cannot be used. {reason}") from None
    if not secret and not (environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY")):
        raise BadSetting("PORTAL_ARCHIVE needs PORTAL_ARCHIVE_ACCESS_KEY and PORTAL_ARCHIVE_SECRET.")
    return BucketSettings(config=config, prefix=prefix, secret=secret, bandwidth=bandwidth)


def _place(url: str) -> tuple[dict[str, Any], str]:
    """Configuration and prefix of a URL, not checked yet. Raises ValueError."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    config: dict[str, Any] = dict(options)
    if parts.scheme != "s3" or parts.fragment or len(config) < len(options) or not set(config) <= {*BUCKET_OPTIONS}:
        raise ValueError
    if config.get("path_style", "1") not in ("0", "1") or not config.get("bandwidth", "0").isdecimal():
        raise ValueError
    if path := config.get("ca"):
        try:
            config["ca"] = Path(path).read_text()
        except (OSError, UnicodeError) as error:
            raise BadSetting("The file that ca= names cannot be read.") from error
    return {**config, "bucket": parts.netloc}, parts.path.removeprefix("/")


def _disk(folder: Path) -> int:
    """The size of the disk that the folder is on, or will be."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(place)
    return disk.f_frsize * disk.f_blocks
